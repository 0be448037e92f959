//! The runs. What proves a fault is read from `/proc`.

use std::time::Duration;

use stepwell_tests::chaos::{Kind, Setup, run};
use stepwell_tests::sabotaged;
use tokio::sync::Mutex;

/// The program that plays orchestrator and worker.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stepwell-test-process");

/// Switches a protection off, in processes that were built for it.
const SWITCH: &str = "STEPWELL_SABOTAGE";

/// How long faults go on for a canary.
const CANARY: Duration = Duration::from_secs(30);

/// How long it is waited then for everything to come to rest. Most of what a canary breaks never does.
const CANARY_REST: Duration = Duration::from_secs(30);

/// How many times a canary may be let out before it must have been noticed.
const CANARIES: u64 = 4;

/// One run at a time: each wants all of a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn seed(otherwise: u64) -> u64 {
    let seed = std::env::var("STEPWELL_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(otherwise);
    println!("STEPWELL_CHAOS_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_exact_after_two_minutes_of_faults() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let setup = Setup::new(PROGRAM, seed(1), 1, Duration::from_secs(120));
    let report = run(&setup).await.expect("it can be run");
    println!("{report}");
    assert!(report.exact(), "{report}");
}

/// Lets a canary out until the checks find what they must find: something that says `wanted`.
async fn canary(switch: &str, kinds: &[Kind], wanted: &str) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let program = tokio::task::spawn_blocking(sabotaged::build).await.expect("it is built");
    for number in 0..CANARIES {
        let mut setup = Setup::new(&program, seed(7) + number, 1, CANARY);
        setup.kinds = kinds.to_vec();
        setup.per_second = 3.0;
        setup.rest = CANARY_REST;
        setup.variables = vec![(SWITCH.to_owned(), switch.to_owned())];
        let report = run(&setup).await.expect("it can be run");
        println!("{report}");
        if let Some(folder) = &report.kept_in {
            std::fs::remove_dir_all(folder).expect("the folder can be removed");
        }
        if report.findings.iter().any(|finding| finding.contains(wanted)) {
            return;
        }
    }
    panic!("{switch} was not noticed in {CANARIES} runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_are_noticed() {
    canary("no-fence", &[Kind::OrchestratorPaused], "in the history").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_taken_in_twice_are_noticed() {
    // Killed as often, nobody would get to take over.
    canary("no-watermark", &[Kind::OrchestratorRestarted], "is in the histories of").await;
}
