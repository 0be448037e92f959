//! Where a payload stands. What is sealed for one place opens at no other: not in another namespace or
//! workflow, not as another kind, not in another run or step where those are known to whoever seals it.

use std::fmt;

use stepwell_shared::ids::{Name, Namespace, RunId, StepId, WorkflowId};

/// A place for a payload or a text of the user's within a workflow id.
///
/// The orchestrator moves payloads about, and every place survives its moves: the input of a compensation is
/// made of its action's input and output, which keep the places that they had; a heartbeat and a failure
/// belong to a step and not to one of its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The input of a run, under its workflow type. The run has no id yet when it is sealed.
    WorkflowInput(&'a Name),
    /// What a run returned.
    WorkflowResult(&'a RunId),
    /// What a signal of that name carries. The sender need not know the run.
    Signal(&'a Name),
    /// The argument of a query of that name.
    QueryArgument(&'a Name),
    /// The answer to a query of that name.
    QueryAnswer(&'a Name),
    /// A text: why a query of that name was not answered.
    QueryFailure(&'a Name),
    /// The input of an activity.
    ActivityInput(&'a RunId, StepId),
    /// What an activity or a compensation returned.
    ActivityResult(&'a RunId, StepId),
    /// Heartbeat details of a step.
    Heartbeat(&'a RunId, StepId),
    /// A text: the message of a failure of a step, or of the run when there is no step.
    FailureMessage(&'a RunId, Option<StepId>),
    /// Details and causes of such a failure.
    FailureDetails(&'a RunId, Option<StepId>),
    /// A text: why the code of a run could not answer.
    StallMessage(&'a RunId),
}

/// A place, in its workflow id and namespace.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The workflow id.
    pub workflow_id: &'a WorkflowId,
    /// The place.
    pub place: Place<'a>,
}

impl Place<'_> {
    /// The word for it in what is authenticated. Part of the wire format.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WorkflowInput(_) => "workflow_input",
            Self::WorkflowResult(_) => "workflow_result",
            Self::Signal(_) => "signal",
            Self::QueryArgument(_) => "query_argument",
            Self::QueryAnswer(_) => "query_answer",
            Self::QueryFailure(_) => "query_failure",
            Self::ActivityInput(..) => "activity_input",
            Self::ActivityResult(..) => "activity_result",
            Self::Heartbeat(..) => "heartbeat",
            Self::FailureMessage(..) => "failure_message",
            Self::FailureDetails(..) => "failure_details",
            Self::StallMessage(_) => "stall_message",
        }
    }

    /// What it is of: a name, a run, or a run and a step. Part of the wire format.
    #[must_use]
    pub fn of(&self) -> String {
        match self {
            Self::WorkflowInput(name)
            | Self::Signal(name)
            | Self::QueryArgument(name)
            | Self::QueryAnswer(name)
            | Self::QueryFailure(name) => name.to_string(),
            Self::WorkflowResult(run_id)
            | Self::StallMessage(run_id)
            | Self::FailureMessage(run_id, None)
            | Self::FailureDetails(run_id, None) => run_id.to_string(),
            Self::ActivityInput(run_id, step)
            | Self::ActivityResult(run_id, step)
            | Self::Heartbeat(run_id, step)
            | Self::FailureMessage(run_id, Some(step))
            | Self::FailureDetails(run_id, Some(step)) => format!("{run_id}/{step}"),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkflowInput(name) => write!(f, "the input of workflow `{name}`"),
            Self::WorkflowResult(_) => f.write_str("the result of the run"),
            Self::Signal(name) => write!(f, "the payload of signal `{name}`"),
            Self::QueryArgument(name) => write!(f, "the argument of query `{name}`"),
            Self::QueryAnswer(name) => write!(f, "the answer to query `{name}`"),
            Self::QueryFailure(name) => write!(f, "the reason why query `{name}` failed"),
            Self::ActivityInput(_, step) => write!(f, "the input of activity {step}"),
            Self::ActivityResult(_, step) => write!(f, "the result of activity {step}"),
            Self::Heartbeat(_, step) => write!(f, "the heartbeat of activity {step}"),
            Self::FailureMessage(_, Some(step)) => write!(f, "the failure of activity {step}"),
            Self::FailureDetails(_, Some(step)) => {
                write!(f, "the failure's details of activity {step}")
            }
            Self::FailureMessage(_, None) => f.write_str("the failure of the run"),
            Self::FailureDetails(_, None) => f.write_str("the failure's details of the run"),
            Self::StallMessage(_) => f.write_str("the reason why the run cannot go on"),
        }
    }
}

impl Context<'_> {
    /// What a cipher must authenticate beside the payload: four lines, none of which can hold a line break.
    #[must_use]
    pub fn associated_data(&self) -> String {
        let Self { namespace, workflow_id, place } = self;
        format!("{namespace}\n{workflow_id}\n{}\n{}", place.kind(), place.of())
    }
}
