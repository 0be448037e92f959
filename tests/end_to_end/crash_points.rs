//! Orchestrators and workers die by SIGKILL at every place before and after something is published or acknowledged,
//! each in a small world of its own where a bit of everything is going on. In the end every run has its known result,
//! every effect happened, and under its idempotency key once.
//!
//! `STEPWELL_TEST_BOUNDARY` names a single one; with `STEPWELL_TEST_MANY=1` the successor dies there, too.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use stepwell::shared::error_code::ErrorCode;
use stepwell::shared::limits::DEFAULT_PARTITIONS;
use stepwell::shared::subject::partition;
use stepwell::{ResultError, Status, WorkflowHandle, WorkflowId};
use stepwell_connection::crash::{Boundary, VARIABLE, last_words};
use stepwell_tests::cluster::{Cluster, WorkerSetup};
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::{in_time, until};
use stepwell_tests::processes::Process;
use stepwell_tests::sabotaged;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::lifecycle::{Then, chain, cleans_up};
use stepwell_tests::workflows::money::{Plan, dares, regrets, saves};
use stepwell_tests::workflows::waiting::{NUMBER, collects};
use tokio_util::sync::CancellationToken;

use crate::stage::{many, result};

/// Which time that it gets there the first process dies, and which time its successor does if everything is tested.
const TIMES: [u32; 2] = [1, 4];

/// How many worlds there are at the same time.
const AT_ONCE: usize = 4;

/// How soon a task of a dead worker is given to another one. 15 s without more.
const ACK_WAIT: Duration = Duration::from_secs(2);

/// How soon another orchestrator works after one was killed.
const LEASE: &str = "2s";

/// How long reports wait for others, so that those of runs that go side by side are in one message.
const LINGER_MS: u64 = 200;

/// How many runs go side by side.
const SIDE_BY_SIDE: usize = 4;

/// Pause between two looks at a process.
const PAUSE: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn orchestrators_may_die_before_and_after_everything_that_they_say() {
    at_each(Boundary::OF_ORCHESTRATORS, Role::Orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_may_die_before_and_after_everything_that_they_say() {
    at_each(Boundary::OF_WORKERS, Role::Worker).await;
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Orchestrator,
    Worker,
}

impl Role {
    /// One that dies there, or one that does not.
    fn start(self, cluster: &Cluster, death: Option<(Boundary, u32)>) -> Process {
        let value = death.map(|(boundary, time)| format!("{}:{time}", boundary.name())).unwrap_or_default();
        match self {
            Self::Orchestrator => {
                cluster.orchestrator_in(&["--no-http", "--lease", LEASE], &[(VARIABLE.to_owned(), value)])
            }
            Self::Worker => {
                let setup = WorkerSetup::default().variable(VARIABLE, value).report_linger(LINGER_MS);
                cluster.worker_unheard(&setup)
            }
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Orchestrator => Self::Worker,
            Self::Worker => Self::Orchestrator,
        }
    }
}

async fn at_each(boundaries: &[Boundary], role: Role) {
    let program = tokio::task::spawn_blocking(sabotaged::build).await.expect("it is built");
    let only = std::env::var("STEPWELL_TEST_BOUNDARY").ok();
    let wanted = |boundary: &Boundary| only.as_ref().is_none_or(|only| only == boundary.name());
    let worlds = boundaries.iter().copied().filter(wanted).map(|boundary| {
        let program: PathBuf = program.clone();
        // In a task of its own a world goes on while another one is compared.
        async move { (boundary, tokio::spawn(async move { dies_at(&program, boundary, role).await }).await) }
    });
    let mut worlds = futures_util::stream::iter(worlds).buffer_unordered(AT_ONCE);
    let mut wrong = Vec::new();
    while let Some((boundary, ended)) = worlds.next().await {
        match ended {
            Ok(deaths) => println!("{}: {deaths} deaths", boundary.name()),
            Err(error) => wrong.push(format!("{}: {error}", boundary.name())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A world in which processes die there. Returns how many did.
async fn dies_at(program: &Path, boundary: Boundary, role: Role) -> usize {
    let program = program.to_str().expect("a readable path");
    let cluster = Cluster::start(&format!("dies-{}", boundary.name()), program).await;
    cluster.queue(|config| config.ack_wait = ACK_WAIT).await;
    let helper = role.other().start(&cluster, None);
    let at_rest = CancellationToken::new();
    let work = async {
        work(&cluster).await;
        at_rest.cancel();
    };
    let ((deaths, survivor), ()) = tokio::join!(lives(&cluster, boundary, role, &at_rest), work);
    assert!(deaths > 0, "nobody got to {boundary:?}");
    cluster.answered().await;
    let after = cluster.client.start(chain, "after", 2).await.expect("it starts");
    assert_eq!(result(&after).await.len(), 2);
    let for_nobody = async {
        let rejected = cluster.rejected(1).await;
        let subjects = rejected.iter().filter_map(|it| it["subject"].as_str());
        subjects.filter(|subject| subject.contains(".nobody.")).count()
    };
    assert_eq!(for_nobody.await, 1, "what is for nobody is set aside once");
    cluster.check().await;
    for process in [survivor, helper] {
        process.stop().await;
    }
    deaths
}

/// One life after the other, until everything is at rest. Returns how many ended at the boundary, and the one that
/// goes on.
async fn lives(
    cluster: &Cluster,
    boundary: Boundary,
    role: Role,
    at_rest: &CancellationToken,
) -> (usize, Process) {
    let mut deaths = 0;
    for time in TIMES.into_iter().take(many(1, TIMES.len())) {
        let mut process = role.start(cluster, Some((boundary, time)));
        let mut asked = false;
        let status = loop {
            if let Some(status) = process.has_ended() {
                break status;
            }
            if at_rest.is_cancelled() && !asked {
                asked = true;
                process.ask_to_end();
            }
            tokio::time::sleep(PAUSE).await;
        };
        let log = process.log();
        if log.contains(&last_words(boundary, time)) {
            assert_eq!(status.signal(), Some(9), "{boundary:?}: {status}");
            deaths += 1;
        } else {
            assert!(asked && status.success(), "{boundary:?}: {status}\n{log}");
        }
        if at_rest.is_cancelled() {
            break;
        }
    }
    (deaths, role.start(cluster, None))
}

/// A bit of everything, and what must come of it.
async fn work(cluster: &Cluster) {
    let client = &cluster.client;
    let plan = |account: &str| Plan { account: account.to_owned(), steps: 3, gate: None };
    let (saving, regretting, daring) = (plan("saves"), plan("regrets"), plan("dares"));
    let saved = client.start(saves, "saves", saving.clone()).request_id("saves-1");
    let regretted = client.start(regrets, "regrets", regretting.clone());
    let dared = client.start(dares, "dares", daring.clone());
    let collected = client.start(collects, "collects", 3);
    let cleaned = client.start(cleans_up, "cleans", Then::Stop);
    let heartless = Call { heartbeat: Some(1_000), ..Call::of("lose_heart", json!(3)) };
    let heartless = client.start(one_activity, "heartless", heartless);
    let packs = "stepwell.default.workflow.*.activity.-.pack";
    let mut packs = client.connection().client().subscribe(packs).await.expect("it subscribes");
    let together = neighbours().map(|id| client.start(chain, id, 3).into_future());
    let nobody = cluster
        .publish("stepwell.default.workflow.nobody.signal.number", json!({"v": 1, "payload": 1}).to_string());
    let (saved, regretted, dared, collected, cleaned, heartless, together, ()) = tokio::join!(
        saved.into_future(),
        regretted.into_future(),
        dared.into_future(),
        collected.into_future(),
        cleaned.into_future(),
        heartless.into_future(),
        stepwell::join_all(together),
        nobody
    );
    let collected = collected.expect("it starts");
    for number in 1..=3 {
        collected.signal(NUMBER, number).await.expect("it is open");
    }
    let cleaned = cleaned.expect("it starts");
    until("something to be cancelled", || cluster.ledger.count("cleans", "wait_at", Phase::Started) > 0)
        .await;
    match cleaned.cancel("enough").await {
        Ok(()) => {}
        // The word that it was taken in is gone with who wanted to send it; what it did is below.
        Err(error) => assert_eq!(error.code(), Some(ErrorCode::AlreadyClosed), "{error}"),
    }
    assert_eq!(completed(&collected.clone()).await, [1, 2, 3]);
    assert_eq!(completed(&saved.expect("it starts")).await, saving.total());
    assert_eq!(cluster.bank.balance("saves"), saving.total());
    assert_eq!(failed(&regretted.expect("it starts")).await, Status::Compensated);
    assert_eq!(cluster.bank.balance("regrets"), 0);
    let (returned, booked) = (completed(&dared.expect("it starts")).await, cluster.bank.balance("dares"));
    assert!(returned <= booked && booked <= daring.total(), "{returned} returned, {booked} booked");
    assert_eq!(failed(&cleaned).await, Status::Cancelled);
    assert!(cluster.ledger.count("cleans", "note", Phase::Finished) > 0);
    let Settled::Ok(revived) = completed(&heartless.expect("it starts")).await else {
        panic!("it is tried again")
    };
    assert!(revived[0].as_u64() > Some(1), "{revived}");
    for handle in together {
        assert_eq!(completed(&handle.expect("it starts")).await.len(), 3);
    }
    in_time("reports that went together", packs.next()).await.expect("a pack");
}

/// Ids of workflows of the same partition.
fn neighbours() -> impl Iterator<Item = String> {
    let partition = |id: &str| partition(&WorkflowId::new(id).expect("a valid id"), DEFAULT_PARTITIONS);
    let ids = (0..).map(|number| format!("together-{number}"));
    ids.filter(move |id| partition(id) == partition("together-0")).take(SIDE_BY_SIDE)
}

/// How a run ended. Whoever is asked may be dead.
async fn ended<O: serde::de::DeserializeOwned>(handle: &WorkflowHandle<O>) -> Result<O, Status> {
    let ended = async {
        loop {
            match handle.result().await {
                Ok(result) => return Ok(result),
                Err(ResultError::Failed { status, .. }) => return Err(status),
                Err(ResultError::Request(_)) => tokio::time::sleep(PAUSE).await,
                Err(error) => panic!("{}: {error}", handle.id()),
            }
        }
    };
    in_time(handle.id(), ended).await
}

async fn completed<O: serde::de::DeserializeOwned>(handle: &WorkflowHandle<O>) -> O {
    ended(handle).await.unwrap_or_else(|status| panic!("{} is {}", handle.id(), status.name()))
}

async fn failed<O: serde::de::DeserializeOwned>(handle: &WorkflowHandle<O>) -> Status {
    ended(handle).await.err().unwrap_or_else(|| panic!("{} completed", handle.id()))
}
