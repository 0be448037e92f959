//! Workflows of Temporal, started with its client.

use anyhow::Result;
use stepwell_bench_measure::payload::text;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, WorkflowGetResultOptions, WorkflowSignalOptions,
    WorkflowStartOptions,
};

use super::worker::{BenchSignalled, BenchSteps, Kind, TASK_QUEUE};
use crate::payload::Plan;
use crate::peer::{self, Workflow};

/// The namespace that the development server makes.
const NAMESPACE: &str = "default";

/// A connection.
pub(crate) struct Workflows(Client);

impl Workflows {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        Ok(Self(client(url, "driver").await?))
    }
}

/// Connects.
pub(crate) async fn client(url: &str, name: &str) -> Result<Client> {
    let options = ConnectionOptions::new(url.parse::<reqwest::Url>()?).identity(name.to_owned()).build();
    let connection = Connection::connect(options).await?;
    Ok(Client::new(connection, ClientOptions::new(NAMESPACE).build())?)
}

impl Workflows {
    async fn steps(&self, id: &str, kind: Kind, plan: &Plan) -> Result<()> {
        let options = WorkflowStartOptions::new(TASK_QUEUE, id).build();
        let handle = self.0.start_workflow(BenchSteps::run, (kind, plan.clone()), options).await?;
        handle.get_result(WorkflowGetResultOptions::default()).await?;
        Ok(())
    }
}

impl peer::Client for Workflows {
    async fn run(&self, workflow: Workflow, id: &str, plan: &Plan) -> Result<()> {
        match workflow {
            Workflow::Steps => self.steps(id, Kind::Activities, plan).await,
            Workflow::InProcess => self.steps(id, Kind::LocalActivities, plan).await,
            Workflow::FanOut => self.steps(id, Kind::AllAtOnce, plan).await,
            Workflow::Signalled => {
                let options = WorkflowStartOptions::new(TASK_QUEUE, id).build();
                let handle = self.0.start_workflow(BenchSignalled::run, plan.clone(), options).await?;
                handle.signal(BenchSignalled::go, text(), WorkflowSignalOptions::default()).await?;
                handle.get_result(WorkflowGetResultOptions::default()).await?;
                Ok(())
            }
        }
    }
}
