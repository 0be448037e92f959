//! Everything that workflows, activities, workers and clients are usually written with:
//! `use stepwell::prelude::*;`.

pub use crate::{
    Activity, ActivityContext, ActivityError, ActivityFailure, Cancelled, Client, Either, Query, Signal,
    Undo, WaitError, Worker, WorkflowContext, WorkflowError, WorkflowHandle, activities, activity, days,
    hours, join, join_all, mins, secs, try_join, try_join_all, workflow, workflow_debug, workflow_error,
    workflow_info, workflow_warn,
};
