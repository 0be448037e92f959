//! The step and the workflows, in endpoints of Restate's SDK: what a user would write.

use std::sync::Arc;

use anyhow::Result;
use restate_sdk::prelude::*;
use tokio::net::TcpListener;

use crate::payload::{Plan, Step};
use crate::tally::Tally;

/// The promise that a workflow waits for.
const GO: &str = "go";

struct BenchStep(Arc<Tally>);

#[restate_sdk::service]
impl BenchStep {
    #[handler]
    async fn step(&self, _ctx: Context<'_>, step: Json<Step>) -> Result<Json<Step>, TerminalError> {
        self.0.note(&step.0);
        Ok(step)
    }
}

struct BenchSteps;

#[restate_sdk::workflow]
impl BenchSteps {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, plan: Json<Plan>) -> Result<(), TerminalError> {
        for number in 0..plan.0.steps {
            ctx.service_client::<BenchStepClient>().step(Json(plan.0.step(number))).call().await?;
        }
        Ok(())
    }
}

struct BenchInProcess(Arc<Tally>);

#[restate_sdk::workflow]
impl BenchInProcess {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, plan: Json<Plan>) -> Result<(), TerminalError> {
        for number in 0..plan.0.steps {
            let (tally, step) = (self.0.clone(), plan.0.step(number));
            ctx.run(|| async move {
                tally.note(&step);
                Ok(Json(step))
            })
            .await?;
        }
        Ok(())
    }
}

struct BenchFanOut;

#[restate_sdk::workflow]
impl BenchFanOut {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, plan: Json<Plan>) -> Result<(), TerminalError> {
        let step = |number| ctx.service_client::<BenchStepClient>().step(Json(plan.0.step(number))).call();
        let calls: Vec<_> = (0..plan.0.steps).map(step).collect();
        for call in calls {
            call.await?;
        }
        Ok(())
    }
}

struct BenchSignalled;

#[restate_sdk::workflow]
impl BenchSignalled {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, _plan: Json<Plan>) -> Result<String, TerminalError> {
        ctx.promise::<String>(GO).await
    }

    #[handler]
    async fn go(&self, ctx: SharedWorkflowContext<'_>, text: Json<String>) -> Result<(), TerminalError> {
        ctx.resolve_promise(GO, text.0);
        Ok(())
    }
}

/// Serves the step until the standard input ends.
pub(crate) async fn serve_steps() -> Result<()> {
    let tally = Arc::new(Tally::default());
    serve(Endpoint::builder().bind(BenchStep(tally.clone())).build(), &tally).await
}

/// Serves the workflows until the standard input ends.
pub(crate) async fn serve_workflows() -> Result<()> {
    let tally = Arc::new(Tally::default());
    let endpoint = Endpoint::builder()
        .bind(BenchSteps)
        .bind(BenchInProcess(tally.clone()))
        .bind(BenchFanOut)
        .bind(BenchSignalled)
        .build();
    serve(endpoint, &tally).await
}

async fn serve(endpoint: Endpoint, tally: &Arc<Tally>) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::select! {
        () = HttpServer::new(endpoint).serve(listener) => Ok(()),
        answered = tally.answer(url) => answered?,
    }
}
