//! The floor: three bare loops in the places of orchestrator, workflow worker and activity worker. They
//! send, receive and acknowledge exactly what workflows of sequential steps need on the wire, with bodies
//! as large as the real ones, and look into none of them. What they must know is in subjects and ids.
//!
//! One step is: a task delivered from TASKS; a report to EVENTS, acknowledged by JetStream; the
//! acknowledgement of the task; the report delivered from EVENTS in order; a workflow task and its reply; a
//! record to HISTORY that names its subject's last sequence, acknowledged; the next task to TASKS with an
//! id against repeats, acknowledged. Workflow tasks of one moment go together, and so do their
//! answers, and reports for the same partition; or each goes by itself, see [`Sending`].
//!
//! A workflow begins with its start in EVENTS, acknowledged and delivered; a workflow task and its reply; the
//! first record; its summary to the bucket `state`, acknowledged, at the same time as the first task. After
//! the record of the last step comes a last summary, and when that is stored the announcement of the end.
//! Each workflow has an id of its own, as Stepwell's have: subjects of HISTORY and keys of `state` are as many.
//!
//! Starts come from the same driver as the real ones, and it hears of the ends in the same way.

mod activity_worker;
mod address;
mod bodies;
mod orchestrator;
mod reports;
mod workflow_worker;

pub(crate) use activity_worker::work_activities;
pub(crate) use address::Sending;
pub(crate) use orchestrator::orchestrate;
pub(crate) use workflow_worker::answer_workflow_tasks;

/// The queue of the floor's tasks.
pub(crate) fn queue() -> stepwell_shared::ids::Name {
    crate::roles::queue(0)
}
