//! The floor: three bare loops in the places of orchestrator, workflow worker and activity worker. They
//! send, receive and acknowledge exactly what a step needs on the wire, with bodies as large as the real
//! ones, and look into none of them.
//!
//! One step is: a task delivered from TASKS; a report to EVENTS, acknowledged by JetStream; the
//! acknowledgement of the task; the report delivered from EVENTS in order; a workflow task and its reply; a
//! record to HISTORY that names its subject's last sequence, acknowledged; the next task to TASKS with an
//! id against repeats, acknowledged.

mod activity_worker;
mod bodies;
mod lane;
mod orchestrator;
mod workflow_worker;

pub(crate) use activity_worker::work_activities;
pub(crate) use orchestrator::{CONTROL_GO, CONTROL_STOP, orchestrate};
pub(crate) use workflow_worker::answer_workflow_tasks;

/// The queue of the floor's tasks.
pub(crate) use crate::roles::queue;
