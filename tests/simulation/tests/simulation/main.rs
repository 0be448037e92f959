//! The seeded simulation: thousands of runs in which everything goes wrong, each a function of its seed,
//! each checked for everything that must hold.
//!
//! A seed that fails is printed with the command that runs it alone. `STEPWELL_SIM_SEED` runs one seed,
//! `STEPWELL_SIM_SEEDS` so many, `STEPWELL_SIM_FROM` says where to begin, and with `STEPWELL_SIM_TRACE` a
//! failing run tells what happened in it. Each checker is itself checked: with one rule of the
//! orchestrator switched off, some seed must fail.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use stepwell_simulation::{Failure, Sabotage, Stats, run_seed};

/// How many seeds are run when nothing is said.
const SEEDS: u64 = 600;

/// From so many seeds on, every kind of fault must have been seen.
const SEEDS_FOR_ALL_FAULTS: u64 = 500;

/// Within so many seeds a canary must be caught.
const SEEDS_FOR_CANARY: u64 = 150;

/// The same for what goes wrong only when several things meet.
const SEEDS_FOR_RARE_CANARY: u64 = 20_000;

/// Most reasons that are printed of a failing seed.
const REASONS_SHOWN: usize = 8;

/// The seeds to run.
fn range() -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("STEPWELL_SIM_SEED") {
        return seed..seed + 1;
    }
    let from = number("STEPWELL_SIM_FROM").unwrap_or(0);
    from..from + number("STEPWELL_SIM_SEEDS").unwrap_or(SEEDS)
}

/// Runs seeds on all processors; what happened in all of them, and those that failed.
fn run(seeds: Range<u64>, sabotage: Sabotage) -> (Stats, Vec<Failure>) {
    let next = AtomicU64::new(seeds.start);
    let outcome = Mutex::new((Stats::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let ran = catch_unwind(AssertUnwindSafe(|| run_seed(seed, sabotage)));
            let ran = ran.unwrap_or_else(|_| {
                let reasons = vec!["it panicked; the message is above".to_owned()];
                Err(Failure { seed, reasons, trace: String::new() })
            });
            let mut outcome = outcome.lock().expect("nobody panics while it is held");
            match ran {
                Ok(stats) => outcome.0.add(&stats),
                Err(failure) => {
                    outcome.1.push(failure);
                    if sabotage != Sabotage::None {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    outcome.into_inner().expect("nobody panicked while it was held")
}

fn shown(failure: &Failure) -> String {
    let seed = failure.seed;
    let mut text = format!("seed {seed}:\n");
    for reason in failure.reasons.iter().take(REASONS_SHOWN) {
        text += &format!("  - {reason}\n");
    }
    if failure.reasons.len() > REASONS_SHOWN {
        text += &format!("  and {} more\n", failure.reasons.len() - REASONS_SHOWN);
    }
    text + &failure.trace
        + &format!(
            "  again, with what happened in it:\n    STEPWELL_SIM_SEED={seed} STEPWELL_SIM_TRACE=1 cargo test -p \
             stepwell-simulation --test simulation -- every_seed_holds\n"
        )
}

#[test]
fn every_seed_holds() {
    let seeds = range();
    let count = seeds.end - seeds.start;
    let (stats, failures) = run(seeds, Sabotage::None);
    let text: String = failures.iter().take(5).map(shown).collect();
    assert!(failures.is_empty(), "{} of {count} seeds failed\n{text}", failures.len());
    println!("{stats:#?}");
    if count >= SEEDS_FOR_ALL_FAULTS {
        let missing = stats.missing();
        assert!(missing.is_empty(), "{count} seeds went by without {missing:?}; they prove too little");
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..5 {
        let first = run_seed(seed, Sabotage::None).expect("it holds");
        let second = run_seed(seed, Sabotage::None).expect("it holds");
        assert_eq!(first, second, "seed {seed}");
    }
}

/// With a rule switched off, the checkers find something.
#[track_caller]
fn caught(sabotage: Sabotage, within: u64) {
    let (_, failures) = run(0..within, sabotage);
    let Some(failure) = failures.first() else { panic!("{sabotage:?} was not noticed in {within} seeds") };
    println!("{sabotage:?}: {}", shown(failure));
}

#[test]
fn two_writers_are_noticed() {
    caught(Sabotage::NoFence, SEEDS_FOR_CANARY);
}

#[test]
fn events_taken_in_twice_are_noticed() {
    caught(Sabotage::NoWatermark, SEEDS_FOR_CANARY);
}

#[test]
fn effects_without_a_record_are_noticed() {
    caught(Sabotage::EffectsFirst, SEEDS_FOR_CANARY);
}

#[test]
fn events_that_count_as_done_too_early_are_noticed() {
    caught(Sabotage::EarlyCheckpoint, SEEDS_FOR_CANARY);
}

#[test]
fn tasks_published_twice_are_noticed() {
    caught(Sabotage::NoTaskIds, SEEDS_FOR_CANARY);
}

#[test]
fn tasks_that_nobody_looks_for_are_noticed() {
    caught(Sabotage::NoRecovery, SEEDS_FOR_CANARY);
}

#[test]
fn code_that_stands_elsewhere_is_noticed() {
    caught(Sabotage::NoMarks, SEEDS_FOR_RARE_CANARY);
}

#[test]
fn owners_that_do_not_notice_their_end_are_noticed() {
    caught(Sabotage::NoValidity, SEEDS_FOR_CANARY);
}

#[test]
fn partitions_taken_from_the_living_are_noticed() {
    caught(Sabotage::NoConfirmation, SEEDS_FOR_CANARY);
}

#[test]
fn owners_of_the_same_epoch_are_noticed() {
    caught(Sabotage::SameEpoch, SEEDS_FOR_CANARY);
}

#[test]
fn who_goes_without_handing_over_is_noticed() {
    caught(Sabotage::NoHandOver, SEEDS_FOR_CANARY);
}

#[test]
fn partitions_taken_in_spite_of_a_hold_are_noticed() {
    caught(Sabotage::NoHoldConfirmation, SEEDS_FOR_RARE_CANARY);
}

#[test]
fn packs_that_count_as_done_too_early_are_noticed() {
    caught(Sabotage::FirstPartOnly, SEEDS_FOR_CANARY);
}

#[test]
fn hand_overs_that_forget_at_which_runs_to_look_are_noticed() {
    caught(Sabotage::LateNote, SEEDS_FOR_RARE_CANARY);
}
