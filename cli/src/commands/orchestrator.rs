//! `stepwell orchestrator`

use stepwell_connection::ConnectionOptions;
use stepwell_orchestrator::{Options, OrchestratorError};

use crate::exit::{Exit, Failure};
use crate::shutdown;

pub(crate) async fn run(connection: &ConnectionOptions, options: Options) -> Result<(), Failure> {
    let shutdown = shutdown::on_signal()?;
    stepwell_orchestrator::run(connection, options, shutdown).await.map_err(failed)
}

/// The exit code of an orchestrator that gave up.
pub(crate) fn failed(error: OrchestratorError) -> Failure {
    match error {
        OrchestratorError::Connect(error) => error.into(),
        OrchestratorError::Provision(error) => error.into(),
        error @ OrchestratorError::HttpAccess { .. } => Failure::new(Exit::Usage, error.to_string()),
        error @ (OrchestratorError::Start { .. }
        | OrchestratorError::StreamRegressed { .. }
        | OrchestratorError::Http { .. }) => Failure::new(Exit::Failure, error.to_string()),
    }
}
