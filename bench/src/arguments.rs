//! What may be asked for on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stepwell_shared::ids::Namespace;

/// Measure Stepwell on this machine: steps, latency, fan-out, signals, timers, sleepers, histories.
///
/// Compare figures of one run only, and best their ratio to the floor: a bare loop that sends the same
/// messages between as many processes and does nothing else.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Write the figures there as JSON, too
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,

    /// One repetition of less and for a shorter time: to see that everything works
    #[arg(long)]
    pub(crate) quick: bool,

    /// Measure only this (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<Measurement>,

    /// Measure also what takes long: a million sleepers, 100,000 finished workflows
    #[arg(long)]
    pub(crate) long: bool,

    /// How often each measurement is repeated; the median counts
    #[arg(long, value_name = "N")]
    pub(crate) repetitions: Option<usize>,

    /// Over how many streams tasks and histories are spread, where steps are measured; 4 for steps-synced and 1 for
    /// others when not given
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<u32>,

    /// Hand-written workers in the place of the SDK's, to see the orchestrator alone
    #[arg(long)]
    pub(crate) bare_workers: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// 500 workflows in flight of 10 steps each, and the floor
    Steps,
    /// The same with 50 in flight
    #[value(name = "steps-50")]
    Steps50,
    /// The same with 5,000 in flight
    #[value(name = "steps-5000")]
    Steps5000,
    /// 500 in flight on a server that syncs every write to the disk
    StepsSynced,
    /// 500 in flight on three servers with three copies of everything
    StepsReplicated,
    /// One workflow in flight, the floor, and where the time of a step goes
    Latency,
    /// 1,000 and 10,000 activities joined by one workflow
    FanOut,
    /// Start, wait, signal, complete with 200 in flight
    Signals,
    /// 100,000 timers due within ten seconds: how late they are
    Timers,
    /// 100,000 runs asleep: what they cost, a restart with them, waking 10,000 in a second
    Sleepers,
    /// The same with 1,000,000 runs (takes long)
    SleepersMillion,
    /// Whether a step costs more the longer the history is; opening a long one
    History,
    /// One to three orchestrators, one and four queues, one and 64 workflow types
    ScaleOut,
    /// Memory of the orchestrator over 100,000 finished workflows (takes long)
    Memory,
}

impl Measurement {
    /// Whether it is measured only when it is asked for.
    fn takes_long(self) -> bool {
        match self {
            Self::SleepersMillion | Self::Memory => true,
            Self::Steps
            | Self::Steps50
            | Self::Steps5000
            | Self::StepsSynced
            | Self::StepsReplicated
            | Self::Latency
            | Self::FanOut
            | Self::Signals
            | Self::Timers
            | Self::Sleepers
            | Self::History
            | Self::ScaleOut => false,
        }
    }
}

/// What this process does when it does not measure what `--only` names.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One of the processes that are measured
    #[command(hide = true)]
    Role {
        /// Which.
        name: RoleName,
        /// How it is to be.
        #[command(flatten)]
        options: RoleOptions,
    },
    /// Keep a mixed load going and watch whether anything grows
    Soak(SoakOptions),
}

/// The processes that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Stepwell's orchestrator.
    Orchestrator,
    /// A worker of the SDK with workflow code.
    WorkflowWorker,
    /// A worker of the SDK with activity code.
    ActivityWorker,
    /// A hand-written loop that answers workflow tasks.
    BareWorkflowWorker,
    /// A hand-written loop that answers activity tasks.
    BareActivityWorker,
    /// The floor in the place of the orchestrator.
    FloorOrchestrator,
    /// The floor in the place of the workflow worker.
    FloorWorkflowWorker,
    /// The floor in the place of the activity worker.
    FloorActivityWorker,
}

/// How a process that is measured is to be.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoleOptions {
    /// The servers.
    #[arg(long)]
    pub(crate) nats_url: String,
    /// The namespace.
    #[arg(long)]
    pub(crate) namespace: Namespace,
    /// Copies of what is created.
    #[arg(long, default_value_t = 1)]
    pub(crate) replicas: usize,
    /// Workflows in flight: a worker has room for so many.
    #[arg(long, default_value_t = 500)]
    pub(crate) at_once: usize,
    /// How many queues a worker serves.
    #[arg(long, default_value_t = 1)]
    pub(crate) queues: usize,
    /// Under how many names a worker has the workflow of sequential steps.
    #[arg(long, default_value_t = 1)]
    pub(crate) types: usize,
    /// For how many seconds an orchestrator keeps closed runs; as long as it does when nothing is said.
    #[arg(long)]
    pub(crate) retention_s: Option<u64>,
    /// Where an orchestrator says whether it is ready; nowhere when not given.
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
}

impl RoleOptions {
    /// As they are written on a command line.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--nats-url".to_owned(),
            self.nats_url.clone(),
            "--namespace".to_owned(),
            self.namespace.to_string(),
        ];
        let numbers = [
            ("--replicas", self.replicas),
            ("--at-once", self.at_once),
            ("--queues", self.queues),
            ("--types", self.types),
        ];
        arguments.extend(numbers.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]));
        if let Some(seconds) = self.retention_s {
            arguments.extend(["--retention-s".to_owned(), seconds.to_string()]);
        }
        if let Some(listen) = self.listen {
            arguments.extend(["--listen".to_owned(), listen.to_string()]);
        }
        arguments
    }
}

/// How to soak.
#[derive(Debug, Clone, Args)]
pub(crate) struct SoakOptions {
    /// For how long
    #[arg(long, value_name = "MINUTES", default_value_t = 20.0)]
    pub(crate) minutes: f64,
    /// Seconds between two looks; a minute, or less when there would be few looks
    #[arg(long, value_name = "SECONDS")]
    pub(crate) look_every: Option<f64>,
    /// Write what was seen there as JSON, too
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    /// What is asked for, in the order of the table.
    pub(crate) fn wanted(&self) -> Vec<Measurement> {
        let all = Measurement::value_variants().iter().copied();
        if self.only.is_empty() {
            return all.filter(|measurement| self.long || !measurement.takes_long()).collect();
        }
        all.filter(|measurement| self.only.contains(measurement)).collect()
    }

    /// How often each measurement is repeated.
    pub(crate) fn repetitions(&self) -> usize {
        self.repetitions.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_measured_when_it_is_asked_for() {
        let wanted = |line: &[&str]| Arguments::parse_from(line).wanted();
        assert!(!wanted(&["bench"]).contains(&Measurement::Memory));
        assert!(wanted(&["bench", "--long"]).contains(&Measurement::Memory));
        let some = ["bench", "--only", "memory", "--only", "steps-50"];
        assert_eq!(wanted(&some), [Measurement::Steps50, Measurement::Memory]);
    }

    #[test]
    fn a_role_is_told_how_to_be_as_it_is_understood() {
        let options = RoleOptions {
            nats_url: "nats://127.0.0.1:1".into(),
            namespace: Namespace::new("bench").unwrap(),
            replicas: 3,
            at_once: 5_000,
            queues: 4,
            types: 64,
            retention_s: Some(60),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 2))),
        };
        let mut line = vec!["bench".to_owned(), "role".to_owned(), "orchestrator".to_owned()];
        line.extend(options.to_arguments());
        let Some(Command::Role { options: read, .. }) = Arguments::parse_from(line).command else {
            panic!("no role")
        };
        assert_eq!(format!("{read:?}"), format!("{options:?}"));
    }
}
