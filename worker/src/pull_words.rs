//! What the server says in the inbox for tasks: tasks, and words about the requests for them.

use async_nats::{Message, StatusCode};
use stepwell_shared::headers::REPEATED;

/// What the server says of a task that it gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenOut {
    /// How many times, this time included, as far as the server knows.
    pub(crate) count: u64,
    /// The task's sequence number on the TASKS stream.
    pub(crate) sequence: u64,
    /// How many tasks the consumer had given out with this one. One that was made anew counts from 1.
    pub(crate) consumer_sequence: u64,
    /// Whether it may have been on the queue before, as its sender says.
    pub(crate) repeated: bool,
}

/// What a message means for the requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Task(GivenOut),
    Alive,
    Ended { undelivered: Option<usize> },
    Refused,
    ConsumerGone,
    Unknown,
}

/// What a message in the inbox means.
pub(crate) fn meaning(message: &Message) -> Word {
    let Some(status) = message.status else {
        let repeated = message.headers.as_ref().is_some_and(|headers| headers.get(REPEATED).is_some());
        let given_out = message.reply.as_ref().and_then(|reply| given_out(reply, repeated));
        return given_out.map_or(Word::Unknown, Word::Task);
    };
    let undelivered = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get("Nats-Pending-Messages"))
        .and_then(|count| count.as_str().parse().ok());
    let description = message.description.as_deref().unwrap_or_default();
    match status {
        StatusCode::IDLE_HEARTBEAT => Word::Alive,
        StatusCode::NO_RESPONDERS => Word::ConsumerGone,
        StatusCode::REQUEST_TERMINATED if description.eq_ignore_ascii_case("Consumer Deleted") => {
            Word::ConsumerGone
        }
        StatusCode::REQUEST_TERMINATED if description.starts_with("Exceeded") => Word::Refused,
        StatusCode::TIMEOUT | StatusCode::NOT_FOUND | StatusCode::REQUEST_TERMINATED => {
            Word::Ended { undelivered }
        }
        _ => Word::Refused,
    }
}

/// What the subject says on which a message is acknowledged:
/// `$JS.ACK.<stream>.<consumer>.<count>.<sequence>.<consumer sequence>.…`, with domain and account before the
/// stream in newer servers.
fn given_out(ack: &str, repeated: bool) -> Option<GivenOut> {
    let mut tokens = ack.strip_prefix("$JS.ACK.")?.split('.');
    let place = if tokens.clone().count() >= 9 { 4 } else { 2 };
    let mut number = |skipped| tokens.nth(skipped)?.parse().ok();
    Some(GivenOut { count: number(place)?, sequence: number(0)?, consumer_sequence: number(0)?, repeated })
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use bytes::Bytes;

    use super::*;

    fn status(code: u16, description: &str, headers: &[(&str, &str)]) -> Word {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        meaning(&Message {
            subject: "_INBOX.x.7".into(),
            reply: None,
            payload: Bytes::new(),
            headers: Some(map),
            status: Some(StatusCode::from_u16(code).unwrap()),
            description: Some(description.into()),
            length: 0,
        })
    }

    #[test]
    fn counts_deliveries_in_both_forms() {
        let old = "$JS.ACK.STEPWELL_default_TASKS.gpu.3.17.4.1700000000000000000.0";
        let new = "$JS.ACK._.h4sh.STEPWELL_default_TASKS.gpu.3.17.4.1700000000000000000.0.x";
        let expected = Some(GivenOut { count: 3, sequence: 17, consumer_sequence: 4, repeated: true });
        assert_eq!(given_out(old, true), expected);
        assert_eq!(given_out(new, true), expected);
        for nonsense in ["", "$JS.ACK.", "$JS.ACK.a.b", "$JS.ACK.a.b.c.d", "_INBOX.1"] {
            assert_eq!(given_out(nonsense, false), None, "{nonsense}");
        }
    }

    #[test]
    fn understands_what_the_server_says() {
        let pending = [("Nats-Pending-Messages", "3")];
        assert_eq!(status(408, "Request Timeout", &pending), Word::Ended { undelivered: Some(3) });
        assert_eq!(status(409, "Leadership Change", &[]), Word::Ended { undelivered: None });
        assert_eq!(status(409, "Server Shutdown", &[]), Word::Ended { undelivered: None });
        assert_eq!(status(409, "Exceeded MaxWaiting", &[]), Word::Refused);
        assert_eq!(status(409, "Consumer Deleted", &[]), Word::ConsumerGone);
        assert_eq!(status(503, "", &[]), Word::ConsumerGone);
        assert_eq!(status(100, "Idle Heartbeat", &[]), Word::Alive);
    }
}
