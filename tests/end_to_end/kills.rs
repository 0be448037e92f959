//! Orchestrator, worker and server are killed with SIGKILL at random points, over and over, while workflows
//! run whose right answer is known in advance. In the end every run is closed with that answer, and no step
//! was executed again after its result was recorded.
//!
//! The points are drawn from a seed, which is printed; `STEPWELL_KILL_SEED` sets another one.

use stepwell::{Status, WorkflowHandle};
use stepwell_shared::rng::SplitMix64;
use stepwell_tests::cluster::{Cluster, WorkerSetup};
use stepwell_tests::patience::{eventually, until};
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::money::{Plan, regrets, saves, shares};

use crate::stage::{Cache, PROGRAM, failure, result, together};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Orchestrator,
    Worker,
    Server,
}

/// How many workflows of each kind run.
const RUNS: i64 = 12;

/// How many times somebody is killed.
const KILLS: usize = 8;

/// Between two kills at least one and at most so many lines are added to the ledger: all kills happen while
/// there is work, and at any point of it.
const MOST_LINES_BETWEEN: u64 = 60;

/// What runs while others are killed.
struct Runs {
    saves: Vec<(Plan, WorkflowHandle<i64>)>,
    shares: Vec<(Plan, WorkflowHandle<i64>)>,
    regrets: Vec<(Plan, WorkflowHandle<i64>)>,
}

impl Runs {
    async fn start(cluster: &Cluster) -> Self {
        let client = &cluster.client;
        let plan = |kind: &str, number: i64| Plan { account: format!("{kind}-{number}"), steps: 6 + number % 5 };
        let all = together((0..RUNS).map(|number| async move {
            let (saving, sharing, regretting) = (plan("saves", number), plan("shares", number), plan("regrets", number));
            let first = client.start(saves, &saving.account, saving.clone()).await.expect("it starts");
            let second = client.start(shares, &sharing.account, sharing.clone()).await.expect("it starts");
            let third = client.start(regrets, &regretting.account, regretting.clone()).await.expect("it starts");
            ((saving, first), (sharing, second), (regretting, third))
        }))
        .await;
        let mut runs = Self { saves: Vec::new(), shares: Vec::new(), regrets: Vec::new() };
        for (saving, sharing, regretting) in all {
            runs.saves.push(saving);
            runs.shares.push(sharing);
            runs.regrets.push(regretting);
        }
        runs
    }

    /// Waits for all of them and compares with what is known in advance.
    async fn right(&self, cluster: &Cluster) {
        for (plan, handle) in self.saves.iter().chain(&self.shares) {
            assert_eq!(result(handle).await, plan.total(), "{}", plan.account);
            assert_eq!(cluster.bank.balance(&plan.account), plan.total(), "{}", plan.account);
        }
        for (plan, handle) in &self.regrets {
            let (status, why) = failure(handle).await;
            assert_eq!((status, why.error_type.as_str()), (Status::Compensated, "Regret"));
            assert_eq!(cluster.bank.balance(&plan.account), 0, "{}", plan.account);
        }
    }
}

async fn survive(name: &str, seed: u64, cache: Cache, victims: &[Victim]) {
    let seed = std::env::var("STEPWELL_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(seed);
    println!("{name}: STEPWELL_KILL_SEED={seed}");
    let mut random = SplitMix64::new(seed);
    let mut cluster = Cluster::start(name, PROGRAM).await;
    let setup = cache.worker().slots(4);
    let mut orchestrator = cluster.orchestrator().await;
    let mut worker = cluster.worker(&setup).await;
    let runs = Runs::start(&cluster).await;
    let mut kills: Vec<(Victim, usize)> = Vec::new();
    for _ in 0..KILLS {
        let lines = cluster.ledger.read().len() + 1 + below(&mut random, MOST_LINES_BETWEEN);
        let victim = victims[below(&mut random, victims.len() as u64)];
        until("more work to be done", || cluster.ledger.read().len() >= lines).await;
        let open = open_runs(&cluster).await;
        assert!(open > 0, "everything was done before kill number {}", kills.len() + 1);
        kills.push((victim, open));
        (orchestrator, worker) = kill(victim, &mut cluster, &setup, orchestrator, worker).await;
    }
    println!("{name}: killed, with so many runs open: {kills:?}");
    runs.right(&cluster).await;
    assert_eq!(open_runs(&cluster).await, 0);
    assert_eq!(kills.len(), KILLS);
    cluster.check().await;
    worker.stop().await;
    orchestrator.stop().await;
}

async fn kill(
    victim: Victim,
    cluster: &mut Cluster,
    setup: &WorkerSetup,
    orchestrator: Process,
    worker: Process,
) -> (Process, Process) {
    match victim {
        Victim::Orchestrator => {
            orchestrator.kill();
            (cluster.orchestrator_with(&["--no-http"]), worker)
        }
        Victim::Worker => {
            worker.kill();
            (orchestrator, cluster.worker_unheard(setup))
        }
        Victim::Server => {
            cluster.server.kill();
            cluster.server.restart().expect("the server starts again");
            (orchestrator, worker)
        }
    }
}

async fn open_runs(cluster: &Cluster) -> usize {
    let runs = eventually("a list of runs", || async {
        let request = stepwell::shared::api::ListRequest { limit: 1_000, ..Default::default() };
        cluster.client.list(&request).await.ok()
    })
    .await;
    runs.runs.iter().filter(|run| !run.status.closed()).count()
}

fn below(random: &mut SplitMix64, bound: u64) -> usize {
    usize::try_from(random.next_u64() % bound).expect("a small number")
}

#[tokio::test]
async fn every_run_survives_the_death_of_orchestrators() {
    survive("kill-orchestrator", 11, Cache::Warm, &[Victim::Orchestrator]).await;
}

#[tokio::test]
async fn every_run_survives_the_death_of_workers() {
    survive("kill-worker", 22, Cache::Warm, &[Victim::Worker]).await;
}

#[tokio::test]
async fn every_run_survives_the_death_of_the_server() {
    survive("kill-server", 33, Cache::Warm, &[Victim::Server]).await;
}

#[tokio::test]
async fn every_run_survives_the_death_of_anybody() {
    let anybody = [Victim::Orchestrator, Victim::Worker, Victim::Server];
    survive("kill-anybody", 44, Cache::Warm, &anybody).await;
}

#[tokio::test]
async fn every_run_survives_the_death_of_anybody_with_nothing_in_memory() {
    let anybody = [Victim::Orchestrator, Victim::Worker, Victim::Server];
    survive("kill-anybody-cold", 55, Cache::Cold, &anybody).await;
}
