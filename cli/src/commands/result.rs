//! `stepwell result`, and the waiting that `start --wait` shares with it.

use std::time::Duration;

use stepwell_encryption::sealed_under;
use stepwell_shared::api::ResultAnswer;
use stepwell_shared::summary::{RunSummary, Status};
use tokio::time::Instant;

use super::Session;
use super::run_args::RunArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::times::{millis, parse_duration};
use crate::{show, text};

/// How long the orchestrator is asked to wait: at first shortly, so that a run that cannot go on is seen.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LATER_WAIT: Duration = Duration::from_secs(5);

/// How long an orchestrator may be away while it is waited: a successor takes a few seconds.
const ABSENCE_TOLERATED: Duration = Duration::from_secs(60);

/// Pause before the next try while it is away.
const ABSENCE_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct ResultArgs {
    #[command(flatten)]
    run: RunArgs,

    /// How long to wait; without it for ever, with 0s not at all
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

const HELP: &str = "\
Prints the result as JSON. The exit code is 4 if the run ended otherwise than completed (the reason is on \
stderr), and 5 if it has not ended within --timeout.

Examples:
  stepwell result order-1
  stepwell result order-1 --timeout 30s -o json | jq .status";

pub(crate) async fn run(args: ResultArgs, session: &Session) -> Result<(), Failure> {
    let summary = wait(session, &args.run, args.timeout, false).await?;
    print(&summary, session.format)
}

/// Waits until the run is closed. `known`: an orchestrator has answered about this run before, so that
/// it is worth waiting for one.
pub(crate) async fn wait(
    session: &Session,
    run: &RunArgs,
    timeout: Option<Duration>,
    mut known: bool,
) -> Result<RunSummary, Failure> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut last_answer = Instant::now();
    let mut patience = FIRST_WAIT;
    let mut told = None;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = left.map_or(patience, |left| left.min(patience));
        let mut request = run.request();
        request.wait_ms = millis(wait);
        let answer = session.api.call_waiting::<ResultAnswer>("result", &request, wait).await;
        let answer = answer.map(|mut summary| {
            session.payloads.reveal_summary(&mut summary);
            summary
        });
        match answer {
            Ok(summary) if summary.status.closed() => return Ok(summary),
            Ok(summary) => {
                if left.is_some_and(|left| left <= wait) {
                    let text = format!("{} is still {}", summary.workflow_id, show::standing(&summary));
                    return Err(Failure::new(Exit::Timeout, text));
                }
                let obstacle = show::obstacle(&summary);
                if obstacle.is_some() && obstacle != told {
                    eprintln!("waiting; the run is {}", text::line(&show::standing(&summary)));
                    told = obstacle;
                }
                (known, last_answer, patience) = (true, Instant::now(), LATER_WAIT);
            }
            Err(failure) => {
                let away = matches!(failure.exit(), Exit::Unavailable | Exit::Timeout);
                let expired = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if !away || !known || expired || last_answer.elapsed() >= ABSENCE_TOLERATED {
                    return Err(failure);
                }
                tokio::time::sleep(ABSENCE_PAUSE).await;
            }
        }
    }
}

/// Prints how a closed run ended.
pub(crate) fn print(summary: &RunSummary, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::print_json(summary)?,
        Format::Table if summary.status == Status::Completed => {
            // A result of `null` reads like none at all.
            let result = summary.result.as_ref().map_or("null", |result| result.json());
            if let Some(key) = summary.result.as_ref().and_then(sealed_under) {
                eprintln!(
                    "the result is encrypted; give --keys-file a file that has key {}",
                    text::line(&key)
                );
            }
            output::print(&text::lines(result))?;
        }
        Format::Table => {}
    }
    match summary.status {
        Status::Completed => Ok(()),
        Status::Running
        | Status::Compensating
        | Status::Stuck
        | Status::Failed
        | Status::Cancelled
        | Status::Terminated
        | Status::TimedOut
        | Status::Compensated => {
            let text = format!("{} is {}", summary.workflow_id, show::standing(summary));
            Err(Failure::new(Exit::NotCompleted, text))
        }
    }
}
