//! JetStream in memory, as far as Stepwell relies on it: the streams and buckets of a namespace, from the
//! same description from which a server's are made. Time is what the owner says.

use std::collections::BTreeMap;

use stepwell_connection::provision::{ACK_WAIT, ProvisionOptions, Settings, layout};
use stepwell_shared::encoding::VERSION;
use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::{self, Bucket, Stream};

use super::queue::Consumer;
use super::stream::MemoryStream;
use super::{Acked, Entry, Handed, KeyValue, Log, Message, Queue, Refusal, Stored};

/// JetStream in memory.
pub struct Memory {
    namespace: Namespace,
    now_ms: u64,
    streams: BTreeMap<String, MemoryStream>,
    consumers: BTreeMap<Name, Consumer>,
}

impl Memory {
    /// An empty namespace with so many partitions.
    #[must_use]
    pub fn new(namespace: Namespace, partitions: u32) -> Self {
        let settings = Settings { v: VERSION, partitions, shards: Shards::ONE };
        let configs = layout(&namespace, &settings, &ProvisionOptions::default());
        let streams = configs.into_iter().map(|config| (config.name.clone(), MemoryStream::new(config)));
        Self { namespace, now_ms: 0, streams: streams.collect(), consumers: BTreeMap::new() }
    }

    /// Moves the server's clock.
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Lets a stream refuse everything, or take it again.
    pub fn set_full(&mut self, stream: Stream, full: bool) {
        self.stream(stream).full = full;
    }

    /// The sequence of a subject's last message; 0 when there is none.
    pub fn last_of(&mut self, stream: Stream, subject: &str) -> u64 {
        self.stream(stream).last_of(subject)
    }

    /// Removes a key of a bucket and leaves no trace, unless it was written after a revision.
    pub fn remove_up_to(&mut self, bucket: Bucket, key: &str, revision: u64) {
        let subject = bucket.subject(&self.namespace, key);
        let stream = self.bucket(bucket);
        if stream.last_of(&subject) <= revision {
            stream.remove_subject(&subject);
        }
    }

    /// How many messages a stream holds.
    pub fn len(&mut self, stream: Stream) -> usize {
        self.stream(stream).messages.len()
    }

    /// Whether a stream holds nothing.
    pub fn is_empty(&mut self, stream: Stream) -> bool {
        self.len(stream) == 0
    }

    /// When the next task that is handed out on a queue becomes overdue.
    #[must_use]
    pub fn next_overdue_ms(&self, queue: &Name) -> Option<u64> {
        self.consumers.get(queue)?.next_overdue_ms()
    }

    /// A task, if there is one now.
    pub fn take_task(&mut self, queue: &Name) -> Option<Handed> {
        let filter = subject::task(&self.namespace, queue, Shard::FIRST);
        let consumer = self.consumers.entry(queue.clone()).or_insert_with(|| {
            Consumer::new(filter, u64::try_from(ACK_WAIT.as_millis()).unwrap_or(u64::MAX))
        });
        let name = Stream::Tasks(Shard::FIRST).name(&self.namespace);
        let stream = self.streams.get(&name)?;
        let (sequence, num_delivered) = consumer.next(stream, self.now_ms)?;
        let body = stream.messages.get(&sequence)?.body.clone();
        let ack_subject = format!("{queue} {sequence}");
        Some(Handed { sequence, num_delivered, body, ack_subject })
    }

    fn stream(&mut self, stream: Stream) -> &mut MemoryStream {
        let name = stream.name(&self.namespace);
        let now_ms = self.now_ms;
        let stream = self.streams.get_mut(&name).expect("every stream is in the layout");
        stream.expire(now_ms);
        stream
    }

    fn bucket(&mut self, bucket: Bucket) -> &mut MemoryStream {
        let name = bucket.stream_name(&self.namespace);
        let now_ms = self.now_ms;
        let stream = self.streams.get_mut(&name).expect("every bucket is in the layout");
        stream.expire(now_ms);
        stream
    }
}

impl Log for Memory {
    fn publish(&mut self, message: Message) -> Result<Acked, Refusal> {
        let now_ms = self.now_ms;
        let stream = self.streams.values_mut().find(|stream| stream.listens_on(&message.subject));
        stream.ok_or(Refusal::NoStream)?.publish(message, now_ms)
    }

    fn read(&mut self, stream: Stream, filter: &str, from: u64, max: usize) -> Vec<Stored> {
        self.stream(stream).read(filter, from, max)
    }

    fn last_sequence(&mut self, stream: Stream) -> u64 {
        self.stream(stream).last_sequence
    }

    fn purge_below(&mut self, stream: Stream, sequence: u64) {
        self.stream(stream).remove_below(sequence);
    }

    fn purge_subject(&mut self, stream: Stream, subject: &str) {
        self.stream(stream).remove_subject(subject);
    }
}

impl Queue for Memory {
    fn make_queue(&mut self, queue: &Name, ack_wait_ms: u64) {
        let filter = subject::task(&self.namespace, queue, Shard::FIRST);
        self.consumers.entry(queue.clone()).or_insert_with(|| Consumer::new(filter, ack_wait_ms));
    }

    fn pull(&mut self, queue: &Name, max: usize, wait_ms: u64) -> Vec<Handed> {
        let until = self.now_ms + wait_ms;
        loop {
            let tasks: Vec<Handed> = (0..max).map_while(|_| self.take_task(queue)).collect();
            let next = self.next_overdue_ms(queue).filter(|at_ms| *at_ms <= until);
            match next {
                Some(at_ms) if tasks.is_empty() => self.set_now(at_ms),
                Some(_) | None => return tasks,
            }
        }
    }

    fn ack(&mut self, task: &Handed) {
        let Some((queue, _)) = task.ack_subject.split_once(' ') else { return };
        if let Some(consumer) = Name::new(queue).ok().and_then(|queue| self.consumers.get_mut(&queue)) {
            consumer.ack(task.sequence);
        }
        let tasks = self.stream(Stream::Tasks(Shard::FIRST));
        debug_assert!(tasks.is_work_queue(), "acknowledged tasks go away");
        tasks.remove(task.sequence);
    }

    fn in_progress(&mut self, task: &Handed) {
        let now_ms = self.now_ms;
        let Some((queue, _)) = task.ack_subject.split_once(' ') else { return };
        if let Some(consumer) = Name::new(queue).ok().and_then(|queue| self.consumers.get_mut(&queue)) {
            consumer.in_progress(task.sequence, now_ms);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
    }
}

impl KeyValue for Memory {
    fn get(&mut self, bucket: Bucket, key: &str) -> Option<Entry> {
        let subject = bucket.subject(&self.namespace, key);
        let stream = self.bucket(bucket);
        let stored = stream.messages.get(&stream.last_of(&subject))?;
        // A marker has no body; an empty value is never written.
        (!stored.body.is_empty()).then(|| Entry { revision: stored.sequence, value: stored.body.clone() })
    }

    fn put(&mut self, bucket: Bucket, key: &str, value: &[u8]) -> u64 {
        let message = Message::new(bucket.subject(&self.namespace, key), value);
        self.publish(message).map_or(0, |ack| ack.sequence)
    }

    fn update(&mut self, bucket: Bucket, key: &str, value: &[u8], revision: u64) -> Result<u64, Refusal> {
        let message = Message::new(bucket.subject(&self.namespace, key), value).after(revision);
        self.publish(message).map(|ack| ack.sequence)
    }

    fn purge(&mut self, bucket: Bucket, key: &str) {
        let message = Message::new(bucket.subject(&self.namespace, key), Vec::new())
            .with_header("KV-Operation", "PURGE")
            .with_header("Nats-Rollup", "sub");
        let _ = self.publish(message);
    }

    fn entries(&mut self, bucket: Bucket) -> Vec<(String, Vec<u8>)> {
        let prefix = bucket.subject(&self.namespace, "");
        let stream = self.bucket(bucket);
        let values = stream.messages.values().filter(|stored| !stored.body.is_empty());
        let mut entries: Vec<_> = values
            .filter_map(|stored| {
                Some((stored.subject.strip_prefix(&prefix)?.to_owned(), stored.body.clone()))
            })
            .collect();
        entries.sort();
        entries
    }
}
