//! What may be asked for on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use stepwell_shared::ids::Namespace;

/// Measure Stepwell on this machine: steps, latency, fan-out, signals, timers, memory.
///
/// Compare figures of one run only, and best their ratio to the floor: a bare loop that sends the same
/// messages between as many processes and does nothing else.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Write the figures there as JSON, too
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,

    /// One repetition with shorter windows: to see that everything works
    #[arg(long)]
    pub(crate) quick: bool,

    /// Measure only this (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<Measurement>,

    /// Measure the orchestrator's memory over 100,000 finished workflows as well
    #[arg(long)]
    pub(crate) full: bool,

    /// How often each measurement is repeated; the median counts
    #[arg(long, value_name = "N")]
    pub(crate) repetitions: Option<usize>,

    /// Hand-written workers in the place of the SDK's, to see the orchestrator alone
    #[arg(long)]
    pub(crate) bare_workers: bool,

    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// 500 workflows in flight of 10 steps each, and the floor
    Steps,
    /// One workflow in flight, and the floor
    Latency,
    /// 1,000 activities joined by one workflow
    FanOut,
    /// Start, wait, signal, complete with 200 in flight
    Signals,
    /// Short timers that are due together
    Timers,
    /// Memory of the orchestrator over 100,000 finished workflows
    Memory,
}

/// What this process is when it is not the one that measures.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// One of the processes that are measured
    #[command(hide = true)]
    Role {
        /// Which.
        name: RoleName,
        /// The server.
        #[arg(long)]
        nats_url: String,
        /// The namespace.
        #[arg(long)]
        namespace: Namespace,
    },
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

impl Arguments {
    /// Whether this measurement is asked for.
    pub(crate) fn wants(&self, measurement: Measurement) -> bool {
        if self.only.is_empty() {
            return measurement != Measurement::Memory || self.full;
        }
        self.only.contains(&measurement)
    }

    /// How often each measurement is repeated.
    pub(crate) fn repetitions(&self) -> usize {
        self.repetitions.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }
}
