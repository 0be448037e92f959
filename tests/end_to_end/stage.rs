//! What every test begins with and ends with.

use std::future::Future;
use std::pin::pin;

use serde::de::DeserializeOwned;
use stepwell::shared::failure::Failure;
use stepwell::{ResultError, Status, WorkflowHandle};
use stepwell_tests::cluster::{Cluster, WorkerSetup};
use stepwell_tests::http;
use stepwell_tests::patience::{PATIENCE, eventually};
use stepwell_tests::processes::Process;

/// The program that plays orchestrator and worker.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_stepwell-test-process");

/// Set where tests must not be left out.
const EVERYTHING: &str = "STEPWELL_TEST_ALL";

/// Whether workers keep runs in memory between their tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// They do.
    Warm,
    /// Every task replays its run from the beginning.
    Cold,
}

impl Cache {
    /// A worker with such a cache.
    pub(crate) fn worker(self) -> WorkerSetup {
        WorkerSetup::default().cached(match self {
            Self::Warm => 1_000,
            Self::Cold => 0,
        })
    }
}

/// A server, an orchestrator and a worker of queue `default`.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) orchestrator: Process,
    pub(crate) worker: Process,
}

impl Stage {
    pub(crate) async fn new(name: &str, cache: Cache) -> Self {
        Self::with(name, &cache.worker()).await
    }

    pub(crate) async fn with(name: &str, worker: &WorkerSetup) -> Self {
        let cluster = Cluster::start(name, PROGRAM).await;
        let orchestrator = cluster.orchestrator().await;
        let worker = cluster.worker(worker).await;
        Self { cluster, orchestrator, worker }
    }

    /// Checks what was recorded and done, and ends everything in good order.
    pub(crate) async fn finish(self) {
        self.cluster.check().await;
        self.stop().await;
    }

    /// Ends everything in good order.
    pub(crate) async fn stop(self) {
        self.worker.stop().await;
        self.orchestrator.stop().await;
    }
}

/// How many of something there are: `few`, or `all` of them when everything is to be tested.
pub(crate) fn many(few: usize, all: usize) -> usize {
    if is_wanted("STEPWELL_TEST_MANY") { all } else { few }
}

/// Whether this variable is `1`.
fn is_wanted(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

/// Waits for a result.
pub(crate) async fn result<O: DeserializeOwned>(handle: &WorkflowHandle<O>) -> O {
    ended(handle).await.unwrap_or_else(|error| panic!("{}: {error}", handle.id()))
}

/// Waits for the end of a run that does not complete: how it ended, and why.
pub(crate) async fn failure<O: DeserializeOwned>(handle: &WorkflowHandle<O>) -> (Status, Failure) {
    match ended(handle).await {
        Err(ResultError::Failed { status, failure: Some(failure) }) => (status, failure),
        Ok(_) => panic!("{} completed", handle.id()),
        Err(error) => panic!("{}: {error}", handle.id()),
    }
}

/// Most times that [`PATIENCE`] may pass before a run ends: a run that never ends makes records for ever, too.
const LONGEST_RUN: u32 = 10;

/// Waits for the end of a run, and says where it stands if nothing is recorded any more and it has not come.
pub(crate) async fn ended<O: DeserializeOwned>(handle: &WorkflowHandle<O>) -> Result<O, ResultError> {
    let mut result = pin!(handle.result());
    let mut known = None;
    for _ in 0..LONGEST_RUN {
        if let Ok(ended) = tokio::time::timeout(PATIENCE, &mut result).await {
            return ended;
        }
        let described = handle.describe().await;
        let records = described.as_ref().ok().map(|it| it.summary.history_length);
        assert!(records > known, "nothing new of {} in {PATIENCE:?}: {described:#?}", handle.id());
        known = records;
    }
    panic!("{} has {known:?} records and did not end", handle.id())
}

/// Waits until the orchestrator with this address owns so many partitions.
pub(crate) async fn owns(address: &str, partitions: f64) {
    eventually(&format!("{address} owns {partitions} partitions"), || async {
        let (_, body) = http::get(address, "/metrics").await?;
        let owned = http::metric(&body, "stepwell_partitions_owned", &[])?;
        (owned.to_bits() == partitions.to_bits()).then_some(())
    })
    .await;
}

/// Says that a test is left out because something is missing, which is a failure where no test may be.
pub(crate) fn leave_out(missing: &str) {
    assert!(!is_wanted(EVERYTHING), "{missing}");
    eprintln!("left out: {missing}");
}

/// Runs several things at once and waits for all of them.
pub(crate) async fn together<F: Future>(things: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    stepwell::join_all(things).await
}

/// Makes of each named function `async fn name(cache: Cache)` two tests: one with runs kept in memory, one
/// with every run evicted after every step.
macro_rules! warm_and_cold {
    ($($name:ident),+ $(,)?) => {
        mod warm {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::stage::Cache::Warm).await;
            })+
        }

        mod cold {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::stage::Cache::Cold).await;
            })+
        }
    };
}

pub(crate) use warm_and_cold;
