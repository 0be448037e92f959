//! The activity and the workflows, in a worker of Temporal's SDK: what a user would write.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::workflows::join_all;
use temporalio_sdk::{
    ActivityOptions, LocalActivityOptions, Runtime, SyncWorkflowContext, Worker, WorkerOptions,
    WorkflowContext, WorkflowResult,
};

use super::client::client;
use crate::payload::{Plan, Step};
use crate::tally::Tally;

/// Where the worker looks for tasks.
pub(crate) const TASK_QUEUE: &str = "bench";

/// As in Stepwell's benchmark.
const START_TO_CLOSE: Duration = Duration::from_secs(30);

/// How steps are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// One after the other.
    Activities,
    /// One after the other, in the worker that has the workflow.
    LocalActivities,
    /// All at once, joined.
    AllAtOnce,
}

pub(crate) struct Activities(Arc<Tally>);

#[activities]
impl Activities {
    #[activity]
    pub(crate) async fn bench_step(
        self: Arc<Self>,
        _ctx: ActivityContext,
        step: Step,
    ) -> Result<Step, ActivityError> {
        self.0.note(&step);
        Ok(step)
    }
}

#[workflow]
#[derive(Default)]
pub(crate) struct BenchSteps;

#[workflow_methods]
impl BenchSteps {
    #[run]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, input: (Kind, Plan)) -> WorkflowResult<()> {
        let (kind, plan) = input;
        match kind {
            Kind::Activities => {
                for number in 0..plan.steps {
                    ctx.execute_activity(Activities::bench_step, plan.step(number), remote()).await?;
                }
            }
            Kind::LocalActivities => {
                for number in 0..plan.steps {
                    ctx.execute_local_activity(Activities::bench_step, plan.step(number), local()).await?;
                }
            }
            Kind::AllAtOnce => {
                let step = |number| ctx.execute_activity(Activities::bench_step, plan.step(number), remote());
                let steps: Vec<_> = (0..plan.steps).map(step).collect();
                for step in join_all(steps).await {
                    step?;
                }
            }
        }
        Ok(())
    }
}

#[workflow]
#[derive(Default)]
pub(crate) struct BenchSignalled {
    went: Option<String>,
}

#[workflow_methods]
impl BenchSignalled {
    #[run]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, _plan: Plan) -> WorkflowResult<String> {
        ctx.wait_condition(|state| state.went.is_some()).await?;
        Ok(ctx.state(|state| state.went.clone().unwrap_or_default()))
    }

    #[signal]
    pub(crate) fn go(&mut self, _ctx: &mut SyncWorkflowContext<Self>, text: String) {
        self.went = Some(text);
    }
}

/// Works until the standard input ends.
pub(crate) async fn work(url: &str) -> Result<()> {
    let tally = Arc::new(Tally::default());
    let runtime = Runtime::from_current_tokio(Default::default())?;
    let options = WorkerOptions::new(TASK_QUEUE)
        .register_workflow::<BenchSteps>()?
        .register_workflow::<BenchSignalled>()?
        .register_activities(Activities(tally.clone()))
        .build();
    let mut worker = Worker::new(&runtime, client(url, "worker").await?, options)?;
    tokio::select! {
        worked = worker.run() => worked.map_err(|error| anyhow!("{error}")),
        answered = tally.answer("ready".to_owned()) => answered?,
    }
}

fn remote() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(START_TO_CLOSE)
}

fn local() -> LocalActivityOptions {
    LocalActivityOptions::builder().start_to_close_timeout(START_TO_CLOSE).build()
}
