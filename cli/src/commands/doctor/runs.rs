//! Runs that cannot go on.

use stepwell_shared::api::{ListAnswer, ListRequest};

use super::report::Report;
use crate::api::Api;
use crate::show;
use crate::text;

/// How many of them are named.
const EXAMPLES: usize = 3;

/// Longest reason that is shown, in characters.
const REASON_LIMIT: usize = 160;

pub(super) async fn check(api: &Api, report: &mut Report) {
    let request = ListRequest { stuck: true, limit: EXAMPLES, ..ListRequest::default() };
    let answer: ListAnswer = match api.call("list", &request).await {
        Ok(answer) => answer,
        Err(failure) => {
            return report.problem("runs", format!("they cannot be listed: {}", failure.message()), "");
        }
    };
    if answer.total == 0 {
        return report.ok("runs", "none is stuck");
    }
    let advice = "`stepwell list --stuck` shows all of them, `stepwell describe ID` what to do";
    report.problem("runs", format!("{} cannot go on", answer.total), advice);
    for run in &answer.runs {
        let reason = text::cut(&show::standing(run), REASON_LIMIT);
        report.note(&format!("run {}", text::cut(run.workflow_id.as_str(), 40)), reason, "");
    }
}
