//! What may be asked for on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measure Stepwell, Restate and Temporal in turn on this machine.
///
/// Compare figures of one run only, and read what each of them syncs to disk and what a step is, which the
/// report says.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench --peers", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write the figures there as JSON, too
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,

    /// One round with shorter windows: to see that everything works
    #[arg(long)]
    pub(crate) quick: bool,

    /// How often everyone has a turn; the median counts
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,

    /// Measure only this (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<Workload>,

    /// Only these have turns (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub(crate) contestant: Vec<Contestant>,

    /// Stepwell's benchmark
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) stepwell: Option<PathBuf>,

    /// Restate's server
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) restate_server: Option<PathBuf>,

    /// Temporal's command line, which has the development server
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) temporal: Option<PathBuf>,
}

/// Whose turn it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Contestant {
    /// Stepwell on nats-server, which syncs to disk every two minutes
    Stepwell,
    /// Stepwell on nats-server told to sync every write; steps only
    StepwellSynced,
    /// Restate, which syncs each batch of its log
    Restate,
    /// Restate told not to sync its log
    RestateUnsynced,
    /// Temporal's development server on a SQLite file, which syncs each transaction
    Temporal,
    /// The same, told to sync at checkpoints only
    TemporalUnsynced,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// Workflows in flight of 10 steps each, a step being done in another place
    Steps,
    /// The same with steps in the workflow's own process: `ctx.run`, local activities
    InProcess,
    /// One workflow in flight, step after step
    Latency,
    /// Start, wait, signal, complete
    Signals,
    /// 1,000 steps joined by one workflow
    FanOut,
}

/// What this process is when it is not the one that measures.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One of the processes that are measured
    #[command(hide = true)]
    Role {
        /// Which.
        name: RoleName,
        /// The server, for those that connect to it.
        #[arg(long)]
        url: Option<String>,
    },
}

/// The peers' workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Restate's endpoint with the step.
    RestateSteps,
    /// Restate's endpoint with the workflows.
    RestateWorkflows,
    /// Temporal's worker, with workflows and activities.
    TemporalWorker,
}

impl Contestant {
    /// The name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stepwell => "Stepwell",
            Self::StepwellSynced => "Stepwell, synced",
            Self::Restate => "Restate",
            Self::RestateUnsynced => "Restate, no sync",
            Self::Temporal => "Temporal",
            Self::TemporalUnsynced => "Temporal, no sync",
        }
    }

    /// The name in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Stepwell => "stepwell",
            Self::StepwellSynced => "stepwell_synced",
            Self::Restate => "restate",
            Self::RestateUnsynced => "restate_unsynced",
            Self::Temporal => "temporal",
            Self::TemporalUnsynced => "temporal_unsynced",
        }
    }
}

impl Options {
    /// Whether this is asked for.
    pub(crate) fn wants(&self, workload: Workload) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }

    /// Who takes part, in the order of their turns.
    pub(crate) fn contestants(&self) -> Vec<Contestant> {
        let all = Contestant::value_variants().iter().copied();
        all.filter(|one| self.contestant.is_empty() || self.contestant.contains(one)).collect()
    }

    /// How often everyone has a turn.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }
}
