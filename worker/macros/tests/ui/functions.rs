use stepwell_macros::{activities, activity, workflow};

#[workflow]
fn not_async(ctx: WorkflowContext) -> Result<(), WorkflowError> {}

#[workflow]
async fn no_context() -> Result<(), WorkflowError> {}

#[activity]
async fn wrong_context(text: String) -> Result<(), ActivityError> {}

#[activity]
async fn no_result(ctx: ActivityContext) {}

#[activity]
async fn borrowed(ctx: ActivityContext, text: &str) -> Result<(), ActivityError> {}

#[activity]
async fn generic<T>(ctx: ActivityContext, value: T) -> Result<(), ActivityError> {}

struct Lone;

impl Lone {
    #[activity]
    async fn method(&self, ctx: ActivityContext) -> Result<(), ActivityError> {}
}

struct Set;

#[activities]
impl Set {
    #[activity]
    async fn method(&mut self, ctx: ActivityContext) -> Result<(), ActivityError> {}
}

#[activities]
impl Set {
    #[activity]
    async fn function(ctx: ActivityContext) -> Result<(), ActivityError> {}
}

#[activities]
impl Set {
    fn nothing() {}
}

#[activities]
impl<T> Several<T> {
    #[activity]
    async fn method(&self, ctx: ActivityContext) -> Result<(), ActivityError> {}
}

fn main() {}
