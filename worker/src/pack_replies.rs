//! Where the answer to a workflow task goes. Answers to tasks that came in one message and are ready in the same moment
//! go back in one message.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{Client, Message, Subject};
use bytes::Bytes;
use stepwell_connection::chunked::{self, ReplyError};
use stepwell_shared::headers::PACK;
use stepwell_shared::limits::MAX_PACKED_BODY_BYTES;
use stepwell_shared::pack::PackIndex;
use thiserror::Error;

/// How much of a header that makes no sense is quoted.
const MAX_QUOTED: usize = 100;

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(crate) enum ReplyTo {
    /// To this subject, by itself.
    Alone(Subject),
    /// To the sender of several tasks: the answer to the one in this place.
    Packed(Arc<PackReplies>, usize),
}

/// Answers to the tasks of one message.
#[derive(Debug)]
pub(crate) struct PackReplies {
    to: Subject,
    ready: Mutex<Vec<(usize, Vec<u8>)>>,
}

/// Why there are no tasks in a message.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NoTasks {
    #[error("it has no place for its answer")]
    NoReply,
    #[error("its header {PACK} does not fit to what is in it: {header:?}")]
    NoPack { header: String },
}

/// The tasks in a message, each with where its answer goes.
pub(crate) fn unpack(message: Message) -> Result<Vec<(Bytes, ReplyTo)>, NoTasks> {
    let to = message.reply.ok_or(NoTasks::NoReply)?;
    let Some(header) = message.headers.as_ref().and_then(|headers| headers.get(PACK)) else {
        return Ok(vec![(message.payload, ReplyTo::Alone(to))]);
    };
    let index = PackIndex::parse(header.as_str(), message.payload.len());
    let index = index
        .ok_or_else(|| NoTasks::NoPack { header: header.as_str().chars().take(MAX_QUOTED).collect() })?;
    let replies = Arc::new(PackReplies { to, ready: Mutex::default() });
    let tasks = index
        .bodies()
        .map(|(place, range)| (message.payload.slice(range), ReplyTo::Packed(Arc::clone(&replies), place)));
    Ok(tasks.collect())
}

impl ReplyTo {
    /// Sends the answer, or leaves it to whoever answers in the same moment.
    pub(crate) async fn send(&self, client: &Client, body: Vec<u8>) -> Result<(), ReplyError> {
        match self {
            Self::Alone(subject) => chunked::reply(client, subject.clone(), body).await,
            Self::Packed(replies, place) if body.len() > MAX_PACKED_BODY_BYTES => {
                chunked::reply_in_place(client, replies.to.clone(), *place, body).await
            }
            Self::Packed(replies, place) => {
                replies.ready().push((*place, body));
                // Others of the same message get the turn to become ready.
                tokio::task::yield_now().await;
                let ready = std::mem::take(&mut *replies.ready());
                chunked::reply_packed(client, replies.to.clone(), ready).await
            }
        }
    }
}

impl PackReplies {
    fn ready(&self) -> std::sync::MutexGuard<'_, Vec<(usize, Vec<u8>)>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
