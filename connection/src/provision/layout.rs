//! The streams and buckets of a namespace as we would create them. Pure data.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, SubjectTransform};
use stepwell_shared::ids::Namespace;
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::{self, Bucket, Stream};

use super::{ProvisionOptions, Settings};
use crate::connection::SHARDS_METADATA;

/// Most bytes of EVENTS, and of all TASKS together, when nothing is said. Both are emptied as work is done, so this is
/// the backlog that a namespace takes before it refuses new work instead of filling the disk.
const DEFAULT_MAX_BYTES: i64 = 10 * 1024 * 1024 * 1024;

/// How long JetStream recognises a repeated `Nats-Msg-Id`. Ids lie in the server's memory; repeats that
/// come later are recognised by the run.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(2 * 60);

/// How long a message that was set aside is kept for a person.
const REJECTED_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many messages that were set aside are kept; the oldest go first.
const REJECTED_MAX_MESSAGES: i64 = 100_000;

/// How long a start request is recognised as a repeat, counted from the start of its run.
const IDEMPOTENCY_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long heartbeat details outlive their last heartbeat.
const HEARTBEATS_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long the trace of an expired key stays, so that watchers see it go.
const DELETE_MARKER_TTL: Duration = Duration::from_secs(60);

/// Every stream of the namespace, those behind the buckets included.
#[must_use]
pub fn layout(namespace: &Namespace, settings: &Settings, options: &ProvisionOptions) -> Vec<Config> {
    let replicas = options.replicas;
    let max_bytes =
        options.max_bytes.map_or(DEFAULT_MAX_BYTES, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let stream = |stream: Stream, subjects: Vec<String>| Config {
        name: stream.name(namespace),
        subjects,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_bytes: -1,
        max_messages: -1,
        num_replicas: replicas,
        allow_direct: true,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    };
    let events = Config {
        description: Some("What arrives for workflows".into()),
        subject_transform: Some(SubjectTransform {
            source: subject::event_source(namespace),
            destination: subject::event_destination(namespace, settings.partitions),
        }),
        max_bytes,
        ..stream(Stream::Events, vec![subject::event_source(namespace)])
    };
    let shards = settings.shards;
    let histories = shards.all().map(|shard| Config {
        description: Some("What was recorded of runs".into()),
        ..stream(Stream::History(shard), subject::histories(namespace, shard, shards, settings.partitions))
    });
    let tasks = shards.all().map(|shard| Config {
        description: Some("Activity tasks".into()),
        retention: RetentionPolicy::WorkQueue,
        max_bytes: max_bytes / i64::from(shards.count()),
        metadata: metadata(shard, shards),
        ..stream(Stream::Tasks(shard), vec![subject::all_tasks(namespace, shard)])
    });
    let others = [
        Config {
            description: Some("Messages that were set aside".into()),
            discard: DiscardPolicy::Old,
            max_age: REJECTED_MAX_AGE,
            max_messages: REJECTED_MAX_MESSAGES,
            ..stream(Stream::Rejected, vec![subject::all_rejected(namespace)])
        },
        Config {
            description: Some("Summaries of runs by workflow id".into()),
            ..with_ttl(bucket(namespace, Bucket::State, replicas))
        },
        Config {
            description: Some("When sleeping runs are to be woken".into()),
            ..with_ttl(bucket(namespace, Bucket::Timers, replicas))
        },
        Config {
            description: Some("Start requests that were taken in".into()),
            max_age: IDEMPOTENCY_MAX_AGE,
            ..bucket(namespace, Bucket::Idempotency, replicas)
        },
        owners(namespace, replicas),
        Config {
            description: Some("Heartbeat details of running activities".into()),
            max_age: HEARTBEATS_MAX_AGE,
            ..bucket(namespace, Bucket::Heartbeats, replicas)
        },
    ];
    std::iter::once(events).chain(histories).chain(tasks).chain(others).collect()
}

/// The first stream of tasks says how many there are, if it is not the only one.
fn metadata(shard: Shard, shards: Shards) -> HashMap<String, String> {
    let says = shard == Shard::FIRST && shards != Shards::ONE;
    says.then(|| (SHARDS_METADATA.to_owned(), shards.count().to_string())).into_iter().collect()
}

/// The bucket that must exist before all others: it holds the settings.
pub(super) fn owners(namespace: &Namespace, replicas: usize) -> Config {
    Config {
        description: Some("Leases and checkpoints of orchestrators".into()),
        ..bucket(namespace, Bucket::Owners, replicas)
    }
}

fn bucket(namespace: &Namespace, bucket: Bucket, replicas: usize) -> Config {
    let name = bucket.name(namespace);
    Config {
        subjects: vec![format!("$KV.{name}.>")],
        name: bucket.stream_name(namespace),
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: 1,
        num_replicas: replicas,
        allow_rollup: true,
        allow_direct: true,
        deny_delete: true,
        ..Config::default()
    }
}

/// Keys may carry a time to live of their own, and leave a trace when it is over.
fn with_ttl(bucket: Config) -> Config {
    Config { allow_message_ttl: true, subject_delete_marker_ttl: Some(DELETE_MARKER_TTL), ..bucket }
}
