//! What Stepwell relies on in JetStream, as three small traits: a log, a work queue, a key-value store.
//!
//! [`Memory`] is the model that the simulation runs on, [`Real`] a nats-server. One contract suite runs on
//! both, so that what holds in the simulation holds on a server.

mod memory;
mod queue;
mod real;
mod stream;

pub use memory::Memory;
pub use real::Real;
pub use stream::matches;

use stepwell_shared::ids::Name;
use stepwell_shared::subject::{Bucket, Stream};

/// A message to be published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Where to.
    pub subject: String,
    /// The id under which a repeat is recognised.
    pub message_id: Option<String>,
    /// The sequence that the subject's last message must have; 0 for none.
    pub expected_last: Option<u64>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// A message without headers.
    #[must_use]
    pub fn new(subject: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { subject: subject.into(), body: body.into(), ..Self::default() }
    }

    /// The same with an id.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { message_id: Some(id.into()), ..self }
    }

    /// The same for after the message `sequence` of its subject only.
    #[must_use]
    pub fn after(self, sequence: u64) -> Self {
        Self { expected_last: Some(sequence), ..self }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A message was stored, or had been stored before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// Its sequence number; of the first one, when it is a duplicate.
    pub sequence: u64,
    /// It had been stored before.
    pub duplicate: bool,
}

/// A message was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The subject's last message is not the expected one.
    WrongLastSequence,
    /// No stream listens on the subject.
    NoStream,
    /// The stream takes no more at the moment.
    Full,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence number.
    pub sequence: u64,
    /// Where it is stored, after the stream's transform.
    pub subject: String,
    /// Its id.
    pub message_id: Option<String>,
    /// Its place in a chain, if it is part of one.
    pub chunk: Option<String>,
    /// Where each report is in it, if it is a pack of reports.
    pub pack: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A task that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Its sequence number on the TASKS stream.
    pub sequence: u64,
    /// Which delivery of the task this is, from 1.
    pub num_delivered: u64,
    /// The body.
    pub body: Vec<u8>,
    /// What acknowledges this delivery.
    pub ack_subject: String,
}

/// A value of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Changes with every write; what an update must name.
    pub revision: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// Streams: publishing, reading in order, trimming.
pub trait Log {
    /// Publishes and waits for the acknowledgement.
    ///
    /// # Errors
    /// [`Refusal`]: the message is not stored.
    fn publish(&mut self, message: Message) -> Result<Acked, Refusal>;

    /// At most `max` messages of a stream whose subjects match, from a sequence on, in order.
    fn read(&mut self, stream: Stream, filter: &str, from: u64, max: usize) -> Vec<Stored>;

    /// The sequence of the message that was stored last, whether it is still there or not.
    fn last_sequence(&mut self, stream: Stream) -> u64;

    /// Removes everything below a sequence.
    fn purge_below(&mut self, stream: Stream, sequence: u64);

    /// Removes everything of one subject.
    fn purge_subject(&mut self, stream: Stream, subject: &str);
}

/// Work queues on the TASKS stream.
pub trait Queue {
    /// Makes a queue whose tasks are handed out again when nobody says anything for so long.
    fn make_queue(&mut self, queue: &Name, ack_wait_ms: u64);

    /// Takes up to `max` tasks; waits for the first one at most so long.
    fn pull(&mut self, queue: &Name, max: usize, wait_ms: u64) -> Vec<Handed>;

    /// The task is done: it goes away for good.
    fn ack(&mut self, task: &Handed);

    /// The task is being worked on: the wait begins anew.
    fn in_progress(&mut self, task: &Handed);

    /// Lets time pass.
    fn pass(&mut self, ms: u64);
}

/// Buckets.
pub trait KeyValue {
    /// The value of a key.
    fn get(&mut self, bucket: Bucket, key: &str) -> Option<Entry>;

    /// Writes a value; its revision.
    fn put(&mut self, bucket: Bucket, key: &str, value: &[u8]) -> u64;

    /// Writes a value if the key's revision is still this one, 0 for a key that is not there.
    ///
    /// # Errors
    /// [`Refusal::WrongLastSequence`].
    fn update(&mut self, bucket: Bucket, key: &str, value: &[u8], revision: u64) -> Result<u64, Refusal>;

    /// Removes a key with its history.
    fn purge(&mut self, bucket: Bucket, key: &str);

    /// All keys with their values, by key.
    fn entries(&mut self, bucket: Bucket) -> Vec<(String, Vec<u8>)>;
}
