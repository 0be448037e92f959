//! What happens, in order: start everything, start the runs, kill processes in the middle of their work,
//! start them again, wait for the end, and judge it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use stepwell::Client;
use stepwell_shared::summary::RunSummary;
use tokio::task::JoinSet;

use crate::Arguments;
use crate::cluster::{Cluster, DOCUMENTS, Folder, MODELS, ORCHESTRATOR, ORDERS};
use crate::histories;
use crate::progress::{Counts, Progress};
use crate::report;
use crate::runs::{self, Run, Work};
use crate::verdict::{self, Evidence};

/// Time between two looks at the ledger and the processes.
const POLL: Duration = Duration::from_millis(50);

/// How long the next stage may take to come. Far more than it needs: whoever gets there has a bug to show.
const STAGE_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a worker is stopped to see whether it can be killed in the middle of its work.
const TRIES: usize = 100;

/// How long the killed stay away.
const ABSENCE: Duration = Duration::from_secs(1);

/// So many documents are approved before the last one is killed; the others when nobody is killed any more, so
/// that enough runs are open until then, however fast the workers are.
const APPROVED_EARLY: usize = 4;

/// Fewest steps of a document that is approved: saving its pieces, saving the rest.
const STEPS_OF_APPROVED: usize = 2;

/// Fewest runs that must be open when somebody is killed, for it to be "in the middle".
const FEWEST_OPEN: usize = 8;

/// A demonstration that is going on.
struct Scenario {
    cluster: Cluster,
    progress: Progress,
    runs: Vec<Run>,
    closing: JoinSet<Result<RunSummary>>,
    approving: JoinSet<()>,
    closed: Vec<RunSummary>,
    orchestrator_kills: Vec<u64>,
}

/// Plays it; true when everything is proved.
pub(crate) async fn play(arguments: &Arguments) -> Result<bool> {
    let mut folder = Folder::create(arguments.keep.as_deref())?;
    let outcome = act(arguments, &folder).await;
    if !matches!(outcome, Ok(true)) {
        folder.keep();
        eprintln!("streams, logs, ledger, books and results are kept in {}", folder.path().display());
    }
    outcome
}

async fn act(arguments: &Arguments, folder: &Folder) -> Result<bool> {
    let runs = runs::plan(&arguments.documents, arguments.orders.into())?;
    let mut progress = Progress::new(folder.ledger());
    progress.say("starting nats-server, the orchestrator and the workers of three queues");
    let cluster = Cluster::start(arguments, folder).await?;
    let client = Client::on(cluster.connection.clone());
    let mut scenario = Scenario {
        cluster,
        progress,
        runs,
        closing: JoinSet::new(),
        approving: JoinSet::new(),
        closed: Vec::new(),
        orchestrator_kills: Vec::new(),
    };
    scenario.start_runs(&client).await?;
    scenario.kill_and_start_again(&client).await?;
    scenario.approve(&client, APPROVED_EARLY, usize::MAX);
    scenario.until("all runs are closed", |scenario, _| scenario.closed.len() == scenario.runs.len()).await?;
    scenario.judge(folder).await
}

impl Scenario {
    async fn start_runs(&mut self, client: &Client) -> Result<()> {
        for run in &self.runs {
            runs::start(client, run).await?;
            let (connection, id) = (self.cluster.connection.clone(), run.id.clone());
            self.closing.spawn(async move { runs::closed(&connection, &id).await });
        }
        let documents = self.runs.iter().filter(|run| matches!(run.work, Work::Document { .. })).count();
        let orders = self.runs.len() - documents;
        self.progress.say(&format!("{documents} documents and {orders} orders are started"));
        Ok(())
    }

    /// Approves the documents that somebody approves, without the first ones, and not more than so many.
    fn approve(&mut self, client: &Client, without: usize, most: usize) {
        let approved = self.runs.iter().filter(|run| matches!(run.work, Work::Document { approved: true }));
        for run in approved.skip(without).take(most) {
            let (client, id) = (client.clone(), run.id.clone());
            self.approving.spawn(async move { runs::approve(&client, &id).await });
        }
    }

    /// A worker of each queue and the orchestrator, each while it works. What is waited for after the first two
    /// comes however little is left to do: what they executed is executed again, and documents are approved.
    async fn kill_and_start_again(&mut self, client: &Client) -> Result<()> {
        self.kill_at_work(MODELS, 4).await?;
        self.kill_at_work(ORDERS, 20).await?;
        self.absence().await?;
        self.start_again(MODELS)?;
        self.start_again(ORDERS)?;
        self.until("both work again", |scenario, counts| {
            scenario.at_work(MODELS, counts, 1, 0) && scenario.at_work(ORDERS, counts, 1, 0)
        })
        .await?;
        self.kill(ORCHESTRATOR)?;
        self.orchestrator_kills.push(now_ms());
        self.absence().await?;
        self.start_again(ORCHESTRATOR)?;
        let before = self.progress.counts()?.finished();
        self.approve(client, 0, APPROVED_EARLY);
        let after = before + APPROVED_EARLY * STEPS_OF_APPROVED;
        self.until("work goes on", |_, counts| counts.finished() >= after).await?;
        self.kill(DOCUMENTS)?;
        self.absence().await?;
        self.start_again(DOCUMENTS)
    }

    async fn absence(&mut self) -> Result<()> {
        let back = Instant::now() + ABSENCE;
        self.until("the absence is over", |_, _| Instant::now() >= back).await
    }

    /// Whether a process has done something and is doing something.
    fn at_work(&self, name: &str, counts: &Counts, finished: usize, in_flight: usize) -> bool {
        self.cluster
            .processes
            .pid(name)
            .is_some_and(|pid| counts.finished_by(pid) >= finished && counts.in_flight_of(pid) >= in_flight)
    }

    /// Kills a worker that has ended so many attempts and executes two steps at least. It is stopped before
    /// that is looked at, so that it does not end them meanwhile.
    async fn kill_at_work(&mut self, name: &'static str, finished: usize) -> Result<()> {
        for _ in 0..TRIES {
            let what = format!("{name} works");
            self.until(&what, |scenario, counts| scenario.at_work(name, counts, finished, 2)).await?;
            self.cluster.processes.freeze(name);
            if self.at_work(name, &self.progress.counts()?, finished, 2) {
                return self.kill(name);
            }
            self.cluster.processes.go_on(name);
        }
        bail!("{name} was stopped {TRIES} times, and never in the middle of its work")
    }

    fn kill(&mut self, name: &str) -> Result<()> {
        let open = self.runs.len() - self.closed.len();
        if open < FEWEST_OPEN {
            bail!("only {open} runs were open when {name} was to be killed; this proves too little");
        }
        let pid = self.cluster.processes.kill(name)?;
        let cut_off = self.progress.counts()?.in_flight_of(pid);
        let middle = match cut_off {
            0 => format!("while {open} runs were open"),
            _ => format!("while it executed {cut_off} steps and {open} runs were open"),
        };
        self.progress.say(&format!("KILLED {name} (pid {pid}) {middle}"));
        Ok(())
    }

    fn start_again(&mut self, name: &str) -> Result<()> {
        let pid = self.cluster.processes.start_again(name)?;
        self.progress.say(&format!("started {name} again (pid {pid})"));
        Ok(())
    }

    /// Waits for a condition, showing progress and taking in what is finished.
    async fn until(&mut self, what: &str, condition: impl Fn(&Self, &Counts) -> bool) -> Result<()> {
        let deadline = Instant::now() + STAGE_TIMEOUT;
        loop {
            while let Some(closed) = self.closing.try_join_next() {
                self.closed.push(closed.context("a task that waited for a run failed")??);
            }
            let counts = self.progress.counts()?;
            if condition(self, &counts) {
                return Ok(());
            }
            self.cluster.processes.check()?;
            if Instant::now() >= deadline {
                bail!(
                    "waited {STAGE_TIMEOUT:?} in vain until {what}; still open: {}",
                    self.open().join(", ")
                );
            }
            let alive = [DOCUMENTS, MODELS, ORDERS].map(|name| self.cluster.processes.pid(name));
            let alive: Vec<u32> = alive.into_iter().flatten().collect();
            self.progress.tick(self.closed.len(), self.runs.len(), &alive)?;
            tokio::time::sleep(POLL).await;
        }
    }

    fn open(&self) -> Vec<&str> {
        let closed = |run: &&Run| !self.closed.iter().any(|summary| summary.workflow_id.as_str() == run.id);
        self.runs.iter().filter(closed).map(|run| run.id.as_str()).collect()
    }

    async fn judge(mut self, folder: &Folder) -> Result<bool> {
        let elapsed = self.progress.elapsed();
        self.progress.say("all runs are closed; stopping the workers and reading the evidence");
        self.cluster.processes.stop();
        let ids: Vec<String> = self.runs.iter().map(|run| run.id.clone()).collect();
        let evidence = Evidence {
            histories: histories::read(&self.cluster.connection, &ids).await?,
            ledger: example_ledger::read(&folder.ledger())?,
            killed: self.cluster.processes.killed().clone(),
            summaries: self.runs.iter().filter_map(|run| self.summary(&run.id)).cloned().collect(),
            runs: self.runs.clone(),
        };
        let table = report::table(
            &evidence.summaries,
            &evidence.histories,
            &evidence.ledger,
            &self.orchestrator_kills,
        );
        println!("\n{table}\n");
        let verdict = verdict::judge(&evidence, folder)?;
        for line in &verdict.proved {
            println!("proved: {line}");
        }
        for line in &verdict.findings {
            println!("WRONG: {line}");
        }
        println!("{} runs in {:.1} s", self.runs.len(), elapsed.as_secs_f64());
        Ok(verdict.findings.is_empty())
    }

    fn summary(&self, id: &str) -> Option<&RunSummary> {
        self.closed.iter().find(|summary| summary.workflow_id.as_str() == id)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
