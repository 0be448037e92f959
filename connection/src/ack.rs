//! What JetStream says about a published message.

use serde::Deserialize;
use thiserror::Error;

/// The message is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The stream that holds it.
    pub stream: String,
    /// Its sequence number; of the first one, when it is a duplicate.
    pub sequence: u64,
    /// A message with the same `Nats-Msg-Id` was stored before; this one was not.
    pub duplicate: bool,
}

/// The message is not stored, or it is not known whether it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// Somebody else wrote to the subject, or an earlier try of the same message landed after all.
    /// Read the subject again before drawing any conclusion.
    #[error("the subject's last message is not the one that was expected")]
    WrongLastSequence,
    /// The stream or the server takes no more; not stored.
    #[error(
        "NATS has no room for the message: {description}; free or add storage, or raise the stream's max_bytes"
    )]
    StorageFull {
        /// What the server said.
        description: String,
    },
    /// Refused for another reason; not stored.
    #[error("NATS refused the message: {description} (code {code}, error {err_code})")]
    Refused {
        /// The HTTP-like class of the error.
        code: u16,
        /// The JetStream error number; 0 when it is not JetStream's.
        err_code: u64,
        /// What the server said.
        description: String,
    },
    /// No stream listens on the subject, or it has no leader right now; not stored.
    #[error("no stream takes the subject, or its leader is away; is the namespace provisioned?")]
    NoResponders,
    /// No answer came: it may be stored, now or in a moment.
    #[error("NATS did not confirm the message in time; it may be stored or not")]
    UnknownOutcome,
    /// The connection was closed for good; this message was not sent.
    #[error("the connection to NATS is closed")]
    Closed,
}

impl PublishError {
    /// Whether the message is certainly not stored and the reason may go away by itself, so that
    /// publishing the same message again later is right.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::StorageFull { .. } | Self::NoResponders => true,
            Self::Refused { code, .. } => *code == TOO_MANY_REQUESTS || *code == UNAVAILABLE,
            Self::WrongLastSequence | Self::UnknownOutcome | Self::Closed => false,
        }
    }
}

/// Reads the body of an acknowledgement.
pub(crate) fn parse(body: &[u8]) -> Result<Ack, PublishError> {
    let unreadable = || PublishError::Refused {
        code: 0,
        err_code: 0,
        description: format!(
            "the answer is no acknowledgement: {}",
            String::from_utf8_lossy(&body[..body.len().min(MAX_QUOTED_BYTES)])
        ),
    };
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unreadable())?;
    if let Some(error) = answer.error {
        return Err(classify(error));
    }
    match (answer.stream, answer.seq) {
        (Some(stream), Some(sequence)) => Ok(Ack { stream, sequence, duplicate: answer.duplicate }),
        _ => Err(unreadable()),
    }
}

/// How much of an answer that makes no sense is quoted.
const MAX_QUOTED_BYTES: usize = 200;

const TOO_MANY_REQUESTS: u16 = 429;
const UNAVAILABLE: u16 = 503;
const INSUFFICIENT_STORAGE: u16 = 507;

#[derive(Deserialize)]
struct Answer {
    stream: Option<String>,
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    error: Option<ServerError>,
}

#[derive(Deserialize)]
struct ServerError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

fn classify(error: ServerError) -> PublishError {
    let ServerError { code, err_code, description } = error;
    match err_code {
        // "wrong last sequence: n", and the same with a write of that subject still in flight.
        10071 | 10164 => PublishError::WrongLastSequence,
        // A message with the same id is being stored right now; it is not known yet whether it will be.
        10158 => PublishError::UnknownOutcome,
        // Account, server and memory resources; the stream's own limits with `discard: new`.
        10002 | 10023 | 10028 | 10047 | 10077 => PublishError::StorageFull { description },
        _ if code == INSUFFICIENT_STORAGE => PublishError::StorageFull { description },
        _ => PublishError::Refused { code, err_code, description },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, err_code: u64) -> PublishError {
        let body = format!(
            r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"d"}},"stream":"S","seq":0}}"#
        );
        parse(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn reads_an_acknowledgement() {
        let ack = parse(br#"{"stream":"S","seq":7,"duplicate":true,"domain":"x"}"#).unwrap();
        assert_eq!(ack, Ack { stream: "S".into(), sequence: 7, duplicate: true });
        assert!(!parse(br#"{"stream":"S","seq":7}"#).unwrap().duplicate);
    }

    #[test]
    fn tells_the_errors_apart() {
        assert_eq!(error(400, 10071), PublishError::WrongLastSequence);
        assert_eq!(error(400, 10164), PublishError::WrongLastSequence);
        assert_eq!(error(409, 10158), PublishError::UnknownOutcome);
        for full in [10002, 10023, 10028, 10047, 10077] {
            assert_eq!(error(503, full), PublishError::StorageFull { description: "d".into() });
        }
        assert_eq!(error(507, 1), PublishError::StorageFull { description: "d".into() });
        let refused = PublishError::Refused { code: 400, err_code: 10054, description: "d".into() };
        assert_eq!(error(400, 10054), refused);
    }

    #[test]
    fn retries_only_what_is_certainly_not_stored_and_may_pass() {
        assert!(error(429, 10167).retryable());
        assert!(error(503, 10077).retryable());
        assert!(PublishError::NoResponders.retryable());
        assert!(!error(400, 10054).retryable());
        assert!(!PublishError::UnknownOutcome.retryable());
        assert!(!PublishError::WrongLastSequence.retryable());
    }

    #[test]
    fn quotes_an_answer_that_makes_no_sense() {
        for body in ["", "+OK", "{}", r#"{"stream":"S"}"#] {
            let refused = parse(body.as_bytes()).unwrap_err();
            assert!(matches!(refused, PublishError::Refused { code: 0, .. }), "{refused}");
        }
    }
}
