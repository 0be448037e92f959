//! What the floor knows of a workflow stands in its subjects and ids, which have the usual length: bodies
//! are not read.

use stepwell_shared::ids::{RunId, StepId, WorkflowId};
use stepwell_shared::subject;

const RUN_PREFIX: &str = "01900000-0000-7000-8000-";

/// How the floor's workflow tasks and reports are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Those of one moment in one message, as Stepwell sends them.
    Together,
    /// Each by itself: the plainest thing that works.
    Apart,
}

impl Sending {
    const ALL: [Self; 2] = [Self::Together, Self::Apart];

    /// Before the number of steps in the name of a workflow type.
    fn type_prefix(self) -> &'static str {
        match self {
            Self::Together => "bench_floor_",
            Self::Apart => "bench_apart_",
        }
    }

    /// The workflow type with so many steps.
    pub(crate) fn workflow_type(self, steps: u32) -> String {
        format!("{}{steps}", self.type_prefix())
    }
}

/// A workflow of the floor. Its id ends with two numbers, `floor-000003-000017`: of the load, and in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    load: u32,
    number: u32,
}

impl Flow {
    /// Any, for bodies.
    pub(super) const ANY: Self = Self { load: 1, number: 1 };

    pub(super) fn workflow_id(self) -> WorkflowId {
        WorkflowId::new(format!("floor-{:06}-{:06}", self.load, self.number)).expect("a valid id")
    }

    pub(super) fn run_id(self) -> RunId {
        RunId::new(format!("{RUN_PREFIX}{:06}{:06}", self.load, self.number)).expect("a valid id")
    }

    /// The id under which a task is published; the attempt says how its report is sent.
    pub(super) fn attempt_id(self, step: u32, sending: Sending) -> String {
        let attempt = match sending {
            Sending::Together => '1',
            Sending::Apart => '2',
        };
        format!("{}/{step}/{attempt}", self.run_id())
    }

    /// Reads what [`Flow::attempt_id`] wrote.
    pub(super) fn parse_attempt_id(id: &str) -> Option<(Self, StepId, Sending)> {
        let mut parts = id.strip_prefix(RUN_PREFIX)?.split('/');
        let (load, number) = parts.next()?.split_at_checked(6)?;
        let flow = Self { load: load.parse().ok()?, number: number.parse().ok()? };
        let step = StepId::Action(parts.next()?.parse().ok()?);
        Some((flow, step, if parts.next()? == "1" { Sending::Together } else { Sending::Apart }))
    }
}

/// What a stored event of the floor is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FloorEvent {
    /// A workflow with so many steps begins.
    Start { steps: u32, sending: Sending },
    /// This step is done.
    Report { step: u32 },
}

/// Reads the subject of a stored event.
pub(super) fn parse_event(event: &str) -> Option<(Flow, FloorEvent)> {
    let mut tokens = event.split('.').skip(4);
    let id = subject::unescape(tokens.next()?)?;
    let mut numbers = id.strip_prefix("floor-")?.split('-');
    let flow = Flow { load: numbers.next()?.parse().ok()?, number: numbers.next()?.parse().ok()? };
    let event = if tokens.next()? == "start" {
        let workflow_type = tokens.next()?;
        let find = |sending: &Sending| workflow_type.starts_with(sending.type_prefix());
        let sending = Sending::ALL.into_iter().find(find)?;
        FloorEvent::Start { steps: workflow_type.strip_prefix(sending.type_prefix())?.parse().ok()?, sending }
    } else {
        FloorEvent::Report { step: tokens.nth(1)?.parse().ok()? }
    };
    Some((flow, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_found_again() {
        let flow = Flow { load: 3, number: 17 };
        let id = flow.workflow_id();
        assert_eq!(id.as_str(), "floor-000003-000017");
        for sending in Sending::ALL {
            let attempt = flow.attempt_id(4, sending);
            assert_eq!(Flow::parse_attempt_id(&attempt), Some((flow, StepId::Action(4), sending)));
            let start = format!("stepwell.floor.event.3.{id}.start.{}", sending.workflow_type(10));
            assert_eq!(parse_event(&start), Some((flow, FloorEvent::Start { steps: 10, sending })));
        }
        let report = format!("stepwell.floor.event.3.{id}.activity.{}.4", flow.run_id());
        assert_eq!(parse_event(&report), Some((flow, FloorEvent::Report { step: 4 })));
        assert_eq!(parse_event("stepwell.floor"), None);
    }
}
