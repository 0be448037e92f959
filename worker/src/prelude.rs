//! What most programs need: `use stepwell::prelude::*;`.

pub use crate::{
    ActivityContext, ActivityError, ActivityFailure, Answer, Cancelled, Client, Either, Query, RetryPolicy,
    Signal, Undo, WaitError, Worker, WorkflowContext, WorkflowError, WorkflowHandle, activities, activity,
    days, hours, join, join_all, mins, secs, try_join, try_join_all, workflow,
};
