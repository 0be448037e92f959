//! One workflow, `deploy`, in several versions of its code: what a run meets when workers are replaced
//! while it is open.

use clap::ValueEnum;
use stepwell::WorkflowCode;
use stepwell::prelude::*;

use super::lifecycle::GO;
use crate::activities::note;

/// Which code a worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Version {
    /// Notes `before`, waits for a signal, notes `after`.
    #[default]
    Good,
    /// Begins with something else.
    Changed,
    /// Panics after the signal.
    Panics,
    /// Waits for the runtime's timer after the signal.
    Foreign,
    /// There is no such workflow.
    Missing,
}

/// The code that is meant.
pub mod good {
    use super::*;

    /// Notes `before`, waits for a signal, notes `after`.
    #[workflow(name = "deploy")]
    pub async fn deploy(ctx: WorkflowContext) -> Result<String, WorkflowError> {
        let before = ctx.run(note, "before".to_owned()).await?;
        let number = ctx.receive(GO).await?;
        let after = ctx.run(note, "after".to_owned()).await?;
        Ok(format!("{before} {number} {after}"))
    }
}

mod changed {
    use super::*;
    use crate::activities::double;

    /// Doubles first.
    #[workflow(name = "deploy")]
    pub(super) async fn deploy(ctx: WorkflowContext) -> Result<String, WorkflowError> {
        let twice = ctx.run(double, 21).await?;
        let number = ctx.receive(GO).await?;
        Ok(format!("{twice} {number}"))
    }
}

mod panics {
    use super::*;

    /// Panics after the signal.
    #[workflow(name = "deploy")]
    pub(super) async fn deploy(ctx: WorkflowContext) -> Result<String, WorkflowError> {
        ctx.run(note, "before".to_owned()).await?;
        let number = ctx.receive(GO).await?;
        panic!("nobody thought of {number}")
    }
}

mod foreign {
    use super::*;

    /// Sleeps on the runtime's timer after the signal; so long that it is not over before anybody looks.
    #[workflow(name = "deploy")]
    pub(super) async fn deploy(ctx: WorkflowContext) -> Result<String, WorkflowError> {
        let before = ctx.run(note, "before".to_owned()).await?;
        let number = ctx.receive(GO).await?;
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        Ok(format!("{before} {number}"))
    }
}

/// The code of one version.
#[must_use]
pub fn code(version: Version) -> Option<WorkflowCode> {
    match version {
        Version::Good => Some(WorkflowCode::of::<good::deploy>()),
        Version::Changed => Some(WorkflowCode::of::<changed::deploy>()),
        Version::Panics => Some(WorkflowCode::of::<panics::deploy>()),
        Version::Foreign => Some(WorkflowCode::of::<foreign::deploy>()),
        Version::Missing => None,
    }
}
