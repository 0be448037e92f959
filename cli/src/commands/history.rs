//! `stepwell history`

use std::time::Duration;

use stepwell_shared::api::{HistoryAnswer, ResultAnswer, RunRequest};
use stepwell_shared::ids::WorkflowId;

use super::Session;
use super::run_args::RunArgs;
use crate::exit::Failure;
use crate::input;
use crate::output::{self, Format, Rows};
use crate::show::HistoryView;

/// How often new records are looked for while following.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    run: RunArgs,

    /// Go on until the run is closed
    #[arg(short, long)]
    follow: bool,

    /// Only records after this one
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    after: u64,
}

const HELP: &str = "\
One record is one commit: what arrived, and after an arrow what the code asked for then. Long values are \
cut in the table and whole in JSON. With --follow, JSON has one record per line.

Examples:
  stepwell history order-1
  stepwell history order-1 --follow
  stepwell history order-1 -o json > order-1.json";

pub(crate) async fn run(args: HistoryArgs, session: &Session) -> Result<(), Failure> {
    let mut request = args.run.request();
    request.after = args.after;
    if args.follow { follow(request, session).await } else { once(request, session).await }
}

async fn once(mut request: RunRequest, session: &Session) -> Result<(), Failure> {
    let mut records = Vec::new();
    loop {
        let page = next_page(&mut request, session).await?;
        let more = page.more && !page.records.is_empty();
        records.extend(page.records);
        if !more {
            break;
        }
    }
    match session.format {
        Format::Json => output::print_json(&HistoryAnswer { records, more: false }),
        Format::Table => {
            let mut view = HistoryView::new(session.times);
            let mut rows = Rows::new(&HistoryView::HEADER);
            for record in &records {
                view.rows(record).into_iter().for_each(|row| rows.add(row));
            }
            output::print(&rows.text())
        }
    }
}

async fn follow(mut request: RunRequest, session: &Session) -> Result<(), Failure> {
    let mut view = HistoryView::new(session.times);
    let mut closed = false;
    loop {
        let page = next_page(&mut request, session).await?;
        for record in &page.records {
            match session.format {
                Format::Json => output::print_json(record)?,
                Format::Table => {
                    for row in view.rows(record) {
                        output::print(&HistoryView::line(&row))?;
                    }
                }
            }
        }
        if page.more && !page.records.is_empty() {
            continue;
        }
        // What is recorded before the close has been printed by the time that the close was seen once.
        if closed {
            return Ok(());
        }
        let wait = RunRequest { wait_ms: 0, after: 0, ..request.clone() };
        let standing: ResultAnswer = session.api.call("result", &wait).await?;
        closed = standing.status.closed();
        if !closed {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }
}

/// Reads the next records, and notes how far that was, and of which run.
async fn next_page(request: &mut RunRequest, session: &Session) -> Result<HistoryAnswer, Failure> {
    let mut page: HistoryAnswer = session.api.call("history", request).await?;
    let id = input::checked(WorkflowId::new(&request.id))?;
    page.records.iter_mut().for_each(|record| session.payloads.reveal_record(&id, record));
    if let Some(last) = page.records.last() {
        request.after = last.index;
        request.run_id = Some(last.run_id.to_string());
    }
    Ok(page)
}
