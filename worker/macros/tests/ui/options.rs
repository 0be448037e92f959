use stepwell_macros::{activity, workflow};

#[workflow(queue = "no dots.")]
async fn bad_name(ctx: WorkflowContext) -> Result<(), WorkflowError> {}

#[workflow(timeout = "1s")]
async fn unknown_workflow_option(ctx: WorkflowContext) -> Result<(), WorkflowError> {}

#[activity(start_to_close = "soon")]
async fn bad_duration(ctx: ActivityContext) -> Result<(), ActivityError> {}

#[activity(start_to_close = 30)]
async fn number_for_duration(ctx: ActivityContext) -> Result<(), ActivityError> {}

#[activity(heartbeat = "0s")]
async fn zero_duration(ctx: ActivityContext) -> Result<(), ActivityError> {}

#[activity(start_to_finish = "1s")]
async fn unknown_option(ctx: ActivityContext) -> Result<(), ActivityError> {}

#[activity(queue = "a", queue = "b")]
async fn given_twice(ctx: ActivityContext) -> Result<(), ActivityError> {}

#[activity(retry(max_attempts = 0))]
async fn no_attempts(ctx: ActivityContext) -> Result<(), ActivityError> {}

#[activity(retry(coefficient = 0.5))]
async fn shrinking(ctx: ActivityContext) -> Result<(), ActivityError> {}

#[activity(retry(jitter = 2))]
async fn too_much_jitter(ctx: ActivityContext) -> Result<(), ActivityError> {}

#[activity(retry(backoff = "1s"))]
async fn unknown_retry_option(ctx: ActivityContext) -> Result<(), ActivityError> {}

fn main() {}
