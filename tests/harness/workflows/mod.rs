//! The workflows of the tests, by topic.

pub mod activities;
pub mod concurrency;
pub mod deploy;
pub mod lifecycle;
pub mod money;
pub mod sagas;
pub mod waiting;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepwell::{ActivityFailure, FailureKind, WorkflowCode};

/// How an activity ended, as a workflow's result can carry it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Settled<T> {
    /// It returned.
    Ok(T),
    /// It did not.
    Failed {
        /// Who saw it.
        kind: FailureKind,
        /// The error's type.
        error_type: String,
        /// For a person.
        message: String,
        /// What came with it.
        details: Option<Value>,
    },
}

impl<T> From<Result<T, ActivityFailure>> for Settled<T> {
    fn from(result: Result<T, ActivityFailure>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(failure) => Self::Failed {
                kind: failure.kind(),
                error_type: failure.error_type().to_owned(),
                message: failure.message().to_owned(),
                details: failure.details(),
            },
        }
    }
}

impl<T> Settled<T> {
    /// Who saw the failure, if it is one.
    #[must_use]
    pub fn failure_kind(&self) -> Option<FailureKind> {
        match self {
            Self::Ok(_) => None,
            Self::Failed { kind, .. } => Some(*kind),
        }
    }
}

/// The code of all of them, with that version of [`deploy`].
#[must_use]
pub fn all(version: deploy::Version) -> Vec<WorkflowCode> {
    let mut codes = vec![
        WorkflowCode::of::<activities::one_activity>(),
        WorkflowCode::of::<activities::typed>(),
        WorkflowCode::of::<activities::serves>(),
        WorkflowCode::of::<concurrency::fan_out>(),
        WorkflowCode::of::<concurrency::mapped>(),
        WorkflowCode::of::<concurrency::races>(),
        WorkflowCode::of::<lifecycle::chain>(),
        WorkflowCode::of::<lifecycle::refuses>(),
        WorkflowCode::of::<lifecycle::waits>(),
        WorkflowCode::of::<lifecycle::cleans_up>(),
        WorkflowCode::of::<lifecycle::observes>(),
        WorkflowCode::of::<lifecycle::echoes>(),
        WorkflowCode::of::<money::dares>(),
        WorkflowCode::of::<money::saves>(),
        WorkflowCode::of::<money::regrets>(),
        WorkflowCode::of::<money::shares>(),
        WorkflowCode::of::<sagas::trip>(),
        WorkflowCode::of::<waiting::collects>(),
        WorkflowCode::of::<waiting::looks_late>(),
        WorkflowCode::of::<waiting::picky>(),
        WorkflowCode::of::<waiting::counts_to>(),
        WorkflowCode::of::<waiting::naps>(),
        WorkflowCode::of::<waiting::sleeps_until>(),
        WorkflowCode::of::<waiting::answers>(),
    ];
    codes.extend(deploy::code(version));
    codes
}
