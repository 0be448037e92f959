//! The verification run: random programs whose answers are known run on real processes while these are killed,
//! stopped and cut off from each other. In the end everything that was confirmed, recorded and done outside must
//! agree with what was known in advance.
//!
//! The seed decides the programs, what clients do and the faults in their order. When things happen in real
//! processes is not decided by anybody: two runs of one seed are not the same run.

mod book;
mod desk;
mod effects;
mod faults;
mod fleet;
mod load;
mod measure;
mod nemesis;
mod plan;
mod report;
mod rest;
mod servers;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stepwell::Client;
use stepwell::shared::api::ListRequest;
use stepwell_connection::ConnectionOptions;
use stepwell_connection::provision::settings;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::folder::Folder;
use crate::gates::Gates;
use crate::ledger::{Entry, Ledger, Phase};
use book::Book;
use effects::Done;
use fleet::{Fleet, Start};
use load::Outside;
use measure::Spread;
use nemesis::Nemesis;
use servers::Servers;
use stepwell_simulation::dice::Dice;
use verdict::Found;

pub use desk::ProgramDesk;
pub use faults::{Fault, Kind};
pub use report::Report;

/// Longest wait for orchestrators and workers to be there in the beginning.
const BEGINNING: Duration = Duration::from_secs(120);

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program that plays orchestrator and worker.
    pub program: PathBuf,
    /// How long load and faults go on; longer when not enough faults of each kind are proved by then.
    pub length: Duration,
    /// Decides programs and faults.
    pub seed: u64,
    /// Servers: 1 or 3.
    pub nodes: usize,
    /// Over how many streams tasks and histories are spread.
    pub shards: u32,
    /// Orchestrators in the beginning.
    pub orchestrators: usize,
    /// Workers of the workflows' queue in the beginning; each other queue has one.
    pub workers: usize,
    /// Workflows that are started in a second.
    pub per_second: f64,
    /// Which faults; each must be proved twice.
    pub kinds: Vec<Kind>,
    /// Longest time to come to rest after the faults.
    pub rest: Duration,
    /// Environment variables of the processes under test.
    pub variables: Vec<(String, String)>,
    /// Says what happens while it happens.
    pub say: bool,
}

impl Setup {
    /// A run of this length on so many servers, with every kind of fault.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, seed: u64, nodes: usize, length: Duration) -> Self {
        Self {
            program: program.into(),
            length,
            seed,
            nodes,
            shards: 1,
            orchestrators: 2,
            workers: 2,
            per_second: 1.0,
            kinds: Kind::all(nodes),
            rest: Duration::from_secs(240),
            variables: Vec::new(),
            say: false,
        }
    }
}

/// The lease of orchestrators, as they are started.
const LEASE: Duration = Duration::from_secs(3);

/// From this length on some partitions last longer than a task may go without a sign of life.
const LONG: Duration = Duration::from_secs(5 * 60);

/// Runs it. A report that is not exact says so; an error is something that kept the run from being one.
///
/// # Errors
/// When servers or processes cannot be started.
pub async fn run(setup: &Setup) -> Result<Report> {
    if !matches!(setup.nodes, 1 | stepwell_nats_server::NODES) {
        bail!("{} servers make no sense here; take 1 or {}", setup.nodes, stepwell_nats_server::NODES);
    }
    let folder = Folder::new("chaos");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let binary = stepwell_nats_server::find_in(&root)?;
    let mut servers = Servers::start(setup.nodes, &binary, folder.path()).await?;
    let (replicas, shards) = (setup.nodes.to_string(), setup.shards.to_string());
    let orchestrator =
        ["orchestrator", "--no-http", "--lease", "3s", "--replicas", &replicas, "--shards", &shards];
    let start = Start {
        program: setup.program.clone(),
        folder: folder.path().to_owned(),
        orchestrator: orchestrator.map(str::to_owned).to_vec(),
        variables: setup.variables.clone(),
    };
    let mut fleet = Fleet::start(start, servers.ports(), setup.orchestrators, setup.workers).await?;
    let client = Client::with_patience(&ConnectionOptions::to_url(&servers.url())).await?;
    everybody_is_there(&client, &mut fleet).await?;
    let partitions = settings(client.connection()).await?.partitions;

    let ledger = Ledger::open(folder.path())?;
    let outside = Outside {
        client: client.clone(),
        book: Arc::new(Book::default()),
        gates: Gates::of(folder.path()),
        done: Arc::new(Mutex::new(Done::of(folder.path().join("ledger.jsonl")))),
        enough: CancellationToken::new(),
        over: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    let began = Instant::now();
    outside.begin(setup.seed, setup.per_second, partitions);
    let mut nemesis = Nemesis {
        servers: &mut servers,
        fleet: &mut fleet,
        client: &client,
        dice: Dice::of(setup.seed, "nemesis"),
        lease: LEASE,
        long_partitions: setup.length >= LONG,
        orchestrators: setup.orchestrators,
        workers: setup.workers,
        faults: Vec::new(),
        say: setup.say,
    };
    let raged = nemesis.rage(&setup.kinds, setup.length).await;
    let faults = std::mem::take(&mut nemesis.faults);
    raged?;
    let open_at_the_end = outside.book.unfinished().len();
    let last_fault_ms = faults.last().map_or(0, |fault| fault.from_ms);
    // Somebody must still want something after the last fault.
    let wanted_after = tokio::time::timeout(BEGINNING, async {
        while outside.book.open().last_start_ms <= last_fault_ms {
            fleet.tend();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let load_outlived_faults = wanted_after.await.is_ok();
    outside.enough.cancel();
    let seconds = began.elapsed().as_secs_f64();
    if setup.say {
        println!("no more faults; {open_at_the_end} workflows are open");
    }
    let rested =
        rest::come_to_rest(&client, &outside.book, &mut fleet, partitions, &faults, setup.rest).await;
    let mut findings = Vec::new();
    for kind in faults::too_few(&setup.kinds, &faults) {
        findings.push(format!("{} was proved less than {} times", kind.name(), faults::PROVED_AT_LEAST));
    }
    if !load_outlived_faults || open_at_the_end == 0 {
        findings.push("nothing was wanted any more when the faults ended; they prove too little".to_owned());
    }
    if let Err(restless) = &rested {
        let mut logs = logs_in(folder.path());
        logs.extend(servers.logs());
        let dump = rest::dump(&client, &outside.book, &logs, folder.path()).await;
        findings.push(format!("{restless}; see {}", dump.display()));
    }
    outside.over.cancel();
    outside.tasks.close();
    outside.tasks.wait().await;
    let entries = ledger.read();
    let found = Found::read(&client).await;
    let (found, read_error) = match found {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(error)),
    };
    findings.extend(read_error);
    let timers_back = rest::timers(&client, &faults).await.map_or(0, |(_, back)| back.len());
    if let Some(found) = &found {
        let pages = outside.book.open();
        findings.extend(verdict::judge(&pages, found, &entries, &faults));
    }
    let ended_by_themselves = std::mem::take(&mut fleet.ended_by_themselves);
    findings.extend(fleet.end().await);
    findings.extend(panics(&logs_in(folder.path())));
    let report = Report {
        faults,
        seconds,
        open_at_the_end,
        timers_back,
        ended_by_themselves,
        rest_seconds: rested.ok().map(|rested| rested.as_secs_f64()),
        findings,
        ..counted(setup, &outside.book, found.as_ref(), &entries)
    };
    let report = measured(report, found.as_ref(), partitions);
    Ok(kept(report, folder))
}

async fn everybody_is_there(client: &Client, fleet: &mut Fleet) -> Result<()> {
    let wanted = fleet.living(|role| matches!(role, fleet::Role::Worker(_))).len();
    let there = async {
        loop {
            fleet.tend();
            let listed = client.list(&ListRequest::default()).await.is_ok();
            let workers = client.workers().await.map_or(0, |answer| answer.workers.len());
            if listed && workers >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(BEGINNING, there).await.context("orchestrators and workers did not come up")
}

fn counted(setup: &Setup, book: &Book, found: Option<&Found>, entries: &[Entry]) -> Report {
    let pages = book.open();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (status, _) in pages.asked.values().filter_map(|asked| asked.closed.as_ref()) {
        *ends.entry(status.name().to_owned()).or_default() += 1;
    }
    let mut set_aside: BTreeMap<String, usize> = BTreeMap::new();
    for rejection in found.iter().flat_map(|found| &found.rejections) {
        *set_aside.entry(rejection.code.name().to_owned()).or_default() += 1;
    }
    let effects: Vec<&Entry> = entries.iter().filter(|entry| entry.phase == Phase::Finished).collect();
    let different: BTreeSet<_> = effects.iter().map(|entry| (&entry.run_id, &entry.step)).collect();
    let operations = pages.operations.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
    Report {
        seed: setup.seed,
        nodes: setup.nodes,
        orchestrators: setup.orchestrators,
        workers: setup.workers,
        seconds: 0.0,
        faults: Vec::new(),
        operations,
        workflows: pages.asked.len(),
        ends,
        records: found.map_or(0, |found| found.histories.values().map(Vec::len).sum()),
        attempts: entries.iter().filter(|entry| entry.phase == Phase::Started).count(),
        effects: effects.len(),
        repeats: effects.len() - different.len(),
        set_aside,
        timers_back: 0,
        ended_by_themselves: Vec::new(),
        takeover: Spread::default(),
        timer_lag: Spread::default(),
        open_at_the_end: 0,
        rest_seconds: None,
        findings: Vec::new(),
        kept_in: None,
    }
}

fn measured(report: Report, found: Option<&Found>, partitions: u32) -> Report {
    let Some(found) = found else { return report };
    let takeover = Spread::of(measure::takeovers(&found.histories, partitions, &report.faults));
    let timer_lag = Spread::of(measure::timer_lags(&found.histories));
    Report { takeover, timer_lag, ..report }
}

/// What was found must be looked into: then the folder stays.
fn kept(report: Report, folder: Folder) -> Report {
    if report.exact() {
        return report;
    }
    let kept_in = Some(folder.keep().display().to_string());
    Report { kept_in, ..report }
}

fn logs_in(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut logs: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    logs.sort();
    logs
}

/// Panics of the processes under test; there is none that is meant.
fn panics(logs: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    for log in logs {
        let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.contains("panicked at")) {
            found.push(format!("{}: {line}", log.display()));
        }
    }
    found
}
