//! `stepwell start`

use std::time::Duration;

use stepwell_encryption::Place;
use stepwell_shared::api::{Receipt, StartRequest};
use stepwell_shared::ids::{Name, WorkflowId};

use super::run_args::RunArgs;
use super::{Session, receipt, result};
use crate::exit::Failure;
use crate::input;
use crate::output::Format;
use crate::times::{millis, parse_duration};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct StartArgs {
    /// The workflow type
    #[arg(value_name = "TYPE")]
    workflow_type: String,

    /// The workflow id; one run at a time is open for an id
    #[arg(long)]
    id: String,

    /// The input: JSON, @FILE, or - for stdin; null when not given
    #[arg(long, value_name = "JSON")]
    input: Option<String>,

    /// The queue whose workers run the code
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,

    /// Repeats with the same request id start nothing and are answered with the first one's run
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,

    /// Longest time for the run; then it is cancelled
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    run_timeout: Option<Duration>,

    /// Longest time for the workflow over all its runs
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    execution_timeout: Option<Duration>,

    /// Wait for the end and print the result
    #[arg(long)]
    wait: bool,

    /// With --wait: how long; without it for ever
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    timeout: Option<Duration>,
}

const HELP: &str = "\
Prints the id of the run, or with --wait the result. The exit code is 6 if the id has an open run.

Examples:
  stepwell start document_pipeline --id alice --queue documents \\
    --input '{\"document\": \"alice-in-wonderland.txt\"}'
  stepwell start order_saga --id order-001 --queue orders --input @order.json \\
    --run-timeout 1h --wait
  jq -n '{document: \"gpl-3.0.txt\"}' |
    stepwell start document_pipeline --id gpl --queue documents --input - --request-id upload-81";

pub(crate) async fn run(args: StartArgs, session: &Session) -> Result<(), Failure> {
    let (id, workflow_type) =
        (input::checked(WorkflowId::new(&args.id))?, input::checked(Name::new(&args.workflow_type))?);
    let input = input::payload("--input", args.input.as_deref())?;
    let place = Place::WorkflowInput(&workflow_type);
    let request = StartRequest {
        input: input::seal(&session.payloads, "--input", &id, place, input)?,
        id: args.id.clone(),
        workflow_type: args.workflow_type,
        queue: args.queue,
        request_id: args.request_id,
        run_timeout_ms: args.run_timeout.map(millis),
        execution_timeout_ms: args.execution_timeout.map(millis),
    };
    let started: Receipt = session.api.call("start", &request).await?;
    if !args.wait {
        let done = format!("started {} ({})", request.id, request.workflow_type);
        return receipt::print(&started, session.format, &done);
    }
    if session.format == Format::Table {
        eprintln!("started run {}; waiting for its end", started.run_id);
    }
    let run = RunArgs { id: args.id, run: Some(started.run_id.to_string()) };
    let summary = result::wait(session, &run, args.timeout, true).await?;
    result::print(&summary, session.format)
}
