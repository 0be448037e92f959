//! A real nats-server behind the same traits: every call waits for the server's answer.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use futures_util::StreamExt;
use stepwell_connection::page::read_page;
use stepwell_connection::provision::{ProvisionOptions, provision};
use stepwell_connection::{Connection, ConnectionOptions, PublishError};
use stepwell_nats_server::NatsServer;
use stepwell_shared::headers::{CHUNK, EXPECTED_LAST_SUBJECT_SEQUENCE, MESSAGE_ID, PACK};
use stepwell_shared::ids::Name;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Bucket, Stream};
use tokio::runtime::Runtime;

use super::{Acked, Entry, Handed, KeyValue, Log, Message, Queue, Refusal, Stored};

/// A throw-away nats-server with a provisioned namespace.
pub struct Real {
    connection: Connection,
    runtime: Runtime,
    _server: NatsServer,
}

impl Real {
    /// Starts a server from this binary and makes the default namespace with so many partitions.
    ///
    /// # Errors
    /// When the server does not start or refuses something.
    pub fn start(binary: impl Into<std::path::PathBuf>, partitions: u32) -> anyhow::Result<Self> {
        let server = NatsServer::builder(binary).start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let options = ConnectionOptions::to_url(&server.url());
        let connection = runtime.block_on(async {
            let connection = options.connect("contract").await?;
            let wanted = ProvisionOptions { partitions: Some(partitions), ..ProvisionOptions::default() };
            provision(&connection, &wanted).await?;
            anyhow::Ok(connection)
        })?;
        Ok(Self { connection, runtime, _server: server })
    }

    fn purge_what(&self, stream: Stream, change: impl FnOnce(Purge) -> Purge) {
        let name = stream.name(self.connection.namespace());
        self.runtime.block_on(async {
            let stream = self.connection.jetstream().get_stream(name).await.expect("the stream is there");
            let Purge { sequence, filter } = change(Purge::default());
            match (sequence, filter) {
                (Some(sequence), None) => stream.purge().sequence(sequence).await,
                (None, Some(filter)) => stream.purge().filter(filter).await,
                (Some(_), Some(_)) | (None, None) => stream.purge().await,
            }
            .expect("the server purges");
        });
    }

    fn consumer(&self, queue: &Name) -> PullConsumer {
        let stream = Stream::Tasks(Shard::FIRST).name(self.connection.namespace());
        let consumer = self.connection.jetstream().get_consumer_from_stream(queue.as_str(), stream);
        self.runtime.block_on(consumer).expect("the queue was made")
    }

    fn bucket(&self, bucket: Bucket) -> async_nats::jetstream::kv::Store {
        self.runtime.block_on(self.connection.bucket(bucket)).expect("the bucket is there")
    }
}

#[derive(Default)]
struct Purge {
    sequence: Option<u64>,
    filter: Option<String>,
}

impl Log for Real {
    fn publish(&mut self, message: Message) -> Result<Acked, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in &message.headers {
            headers.insert(*name, value.as_str());
        }
        if let Some(id) = &message.message_id {
            headers.insert(MESSAGE_ID, id.as_str());
        }
        if let Some(sequence) = message.expected_last {
            headers.insert(EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
        }
        let publisher = self.connection.publisher();
        let published = self.runtime.block_on(async {
            publisher.publish(message.subject, Some(headers), message.body.into()).await?.await
        });
        match published {
            Ok(ack) => Ok(Acked { sequence: ack.sequence, duplicate: ack.duplicate }),
            Err(PublishError::WrongLastSequence) => Err(Refusal::WrongLastSequence),
            Err(PublishError::NoResponders) => Err(Refusal::NoStream),
            Err(PublishError::StorageFull { .. }) => Err(Refusal::Full),
            Err(
                error @ (PublishError::Refused { .. } | PublishError::UnknownOutcome | PublishError::Closed),
            ) => panic!("the server does not answer as it should: {error}"),
        }
    }

    fn read(&mut self, stream: Stream, filter: &str, from: u64, max: usize) -> Vec<Stored> {
        let mut found = Vec::new();
        let mut next = from.max(1);
        loop {
            let page = self.runtime.block_on(read_page(&self.connection, stream, filter, next));
            let page = page.expect("the stream is read");
            for message in page.messages {
                next = message.sequence + 1;
                let headers = message.headers.unwrap_or_default();
                let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
                found.push(Stored {
                    sequence: message.sequence,
                    subject: header("Nats-Subject").unwrap_or_default(),
                    message_id: header(MESSAGE_ID),
                    chunk: header(CHUNK),
                    pack: header(PACK),
                    body: message.body.to_vec(),
                });
            }
            if !page.more || found.len() >= max {
                found.truncate(max);
                return found;
            }
        }
    }

    fn last_sequence(&mut self, stream: Stream) -> u64 {
        let name = stream.name(self.connection.namespace());
        let stream = self.runtime.block_on(self.connection.jetstream().get_stream(name));
        stream.expect("the stream is there").cached_info().state.last_sequence
    }

    fn purge_below(&mut self, stream: Stream, sequence: u64) {
        self.purge_what(stream, |it| Purge { sequence: Some(sequence), ..it });
    }

    fn purge_subject(&mut self, stream: Stream, subject: &str) {
        self.purge_what(stream, |it| Purge { filter: Some(subject.to_owned()), ..it });
    }
}

impl Queue for Real {
    fn make_queue(&mut self, queue: &Name, ack_wait_ms: u64) {
        let stream = Stream::Tasks(Shard::FIRST).name(self.connection.namespace());
        let config = pull::Config {
            durable_name: Some(queue.to_string()),
            filter_subject: subject::task(self.connection.namespace(), queue, Shard::FIRST),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_millis(ack_wait_ms),
            max_deliver: -1,
            ..pull::Config::default()
        };
        let made = self.connection.jetstream().create_consumer_on_stream(config, stream);
        self.runtime.block_on(made).expect("the queue is made");
    }

    fn pull(&mut self, queue: &Name, max: usize, wait_ms: u64) -> Vec<Handed> {
        let consumer = self.consumer(queue);
        self.runtime.block_on(async {
            let mut tasks = Vec::new();
            let wait = Duration::from_millis(wait_ms.max(1));
            let mut first = consumer.batch().max_messages(1).expires(wait).messages().await.expect("a pull");
            while let Some(message) = first.next().await {
                tasks.push(handed(&message.expect("a task")));
            }
            if tasks.is_empty() || max == 1 {
                return tasks;
            }
            let mut rest = consumer.fetch().max_messages(max - 1).messages().await.expect("a pull");
            while let Some(message) = rest.next().await {
                tasks.push(handed(&message.expect("a task")));
            }
            tasks
        })
    }

    fn ack(&mut self, task: &Handed) {
        // With an answer, so that what comes after it finds it done.
        let acked = self.connection.client().request(task.ack_subject.clone(), "+ACK".into());
        self.runtime.block_on(acked).expect("the server answers");
    }

    fn in_progress(&mut self, task: &Handed) {
        let told = self.connection.client().request(task.ack_subject.clone(), "+WPI".into());
        self.runtime.block_on(told).expect("the server answers");
    }

    fn pass(&mut self, ms: u64) {
        // Time is what is waited for here, not something that happens in it.
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(ms)).await });
    }
}

fn handed(message: &async_nats::jetstream::Message) -> Handed {
    let info = message.info().expect("a task says where it comes from");
    Handed {
        sequence: info.stream_sequence,
        num_delivered: u64::try_from(info.delivered).unwrap_or(0),
        body: message.payload.to_vec(),
        ack_subject: message.reply.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

impl KeyValue for Real {
    fn get(&mut self, bucket: Bucket, key: &str) -> Option<Entry> {
        let entry = self.runtime.block_on(self.bucket(bucket).entry(key)).expect("the bucket is read")?;
        let value = matches!(entry.operation, async_nats::jetstream::kv::Operation::Put);
        value.then(|| Entry { revision: entry.revision, value: entry.value.to_vec() })
    }

    fn put(&mut self, bucket: Bucket, key: &str, value: &[u8]) -> u64 {
        self.runtime.block_on(self.bucket(bucket).put(key, value.to_vec().into())).expect("it is written")
    }

    fn update(&mut self, bucket: Bucket, key: &str, value: &[u8], revision: u64) -> Result<u64, Refusal> {
        let updated = self.bucket(bucket);
        let updated = updated.update(key, value.to_vec().into(), revision);
        self.runtime.block_on(updated).map_err(|_| Refusal::WrongLastSequence)
    }

    fn purge(&mut self, bucket: Bucket, key: &str) {
        self.runtime.block_on(self.bucket(bucket).purge(key)).expect("it is removed");
    }

    fn entries(&mut self, bucket: Bucket) -> Vec<(String, Vec<u8>)> {
        let store = self.bucket(bucket);
        self.runtime.block_on(async {
            let mut entries = Vec::new();
            let mut keys = store.keys().await.expect("the keys are read");
            while let Some(key) = keys.next().await {
                let key = key.expect("a key");
                if let Some(value) = store.get(&key).await.expect("the bucket is read") {
                    entries.push((key, value.to_vec()));
                }
            }
            entries.sort();
            entries
        })
    }
}
