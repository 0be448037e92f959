//! Telling senders what became of their events. Best effort: who misses it asks again with the same
//! request id.

use async_nats::Client;
use stepwell_connection::crash::{self, Boundary};
use stepwell_orchestrator_core::Ruling;
use stepwell_shared::api::{ApiError, Verdict};
use stepwell_shared::encoding::encode;

/// The verdict that a ruling means, if the sender is to be told one.
pub(crate) fn verdict(ruling: &Ruling) -> Option<Verdict> {
    match ruling {
        Ruling::Accepted { run_id } => Some(Verdict::Accepted { run_id: run_id.clone() }),
        Ruling::Duplicate { run_id } => Some(Verdict::Duplicate { run_id: run_id.clone() }),
        Ruling::Ignored => None,
        Ruling::Rejected { code, message, run_id } => Some(Verdict::Rejected(ApiError {
            code: *code,
            message: message.clone(),
            run_id: run_id.clone(),
        })),
    }
}

/// Sends a verdict to the subject that the sender named.
pub(crate) async fn send(client: &Client, answer_to: &str, verdict: &Verdict) {
    crash::at(Boundary::BeforeVerdict);
    if let Err(error) = client.publish(answer_to.to_owned(), encode(verdict).into()).await {
        tracing::debug!(%error, answer_to, "a verdict could not be sent");
    }
    crash::at(Boundary::VerdictSent);
}

/// The subject on which a sender wants a verdict, if it is one that may be published to. Wildcards and
/// JetStream's own subjects are not: a header must not make the orchestrator write there.
pub(crate) fn answer_subject(header: Option<&str>) -> Option<String> {
    header.filter(|subject| subject.starts_with("_INBOX") && sound(subject)).map(str::to_owned)
}

/// Whether a request may be answered there: to an inbox, or to what a server puts in the place of one for a
/// request from another account. Who asks must not make the orchestrator write anywhere else.
pub(crate) fn may_answer(reply: &str) -> bool {
    (reply.starts_with("_INBOX") || reply.starts_with("_R_.")) && sound(reply)
}

fn sound(subject: &str) -> bool {
    subject.len() <= 256
        && subject.split('.').all(|token| {
            !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic() && c != '*' && c != '>')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_go_to_inboxes_only() {
        assert_eq!(answer_subject(Some("_INBOX.a.1")).as_deref(), Some("_INBOX.a.1"));
        assert_eq!(answer_subject(Some("_INBOX_alice.a")).as_deref(), Some("_INBOX_alice.a"));
        for bad in ["", "$JS.API.STREAM.PURGE.x", "_INBOX.>", "_INBOX.a b", "_INBOX..a", "stepwell.x"] {
            assert_eq!(answer_subject(Some(bad)), None, "{bad:?}");
            assert!(!may_answer(bad), "{bad:?}");
        }
        assert!(may_answer("_INBOX_alice.a") && may_answer("_R_.x7.1"));
    }
}
