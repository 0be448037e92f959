//! Creating and checking a namespace.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{Config, PersistenceMode, RetentionPolicy, SubjectTransform};
use futures_util::StreamExt;
use stepwell_connection::chunked::{RequestError, request};
use stepwell_connection::provision::{
    ProvisionError, ProvisionOptions, ensure_queue, layout, provision, remake_queue, settings, stream_info,
};
use stepwell_connection::tasks::stored_tasks;
use stepwell_connection::{ConnectError, Connection, ConnectionOptions};
use stepwell_shared::encoding::VERSION;
use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::{self, Bucket, PROVISIONED_KEY, Stream};

use crate::support::{connect, namespace, publish, server, server_with, shared};

fn with_partitions(partitions: u32) -> ProvisionOptions {
    ProvisionOptions { partitions: Some(partitions), ..ProvisionOptions::default() }
}

#[tokio::test]
async fn everything_is_created_once_and_then_found() {
    let (_server, connection, created) = namespace().await;
    assert_eq!((created.v, created.partitions), (VERSION, 16));
    let options = ProvisionOptions::default();
    assert_eq!(provision(&connection, &options).await.unwrap(), created);
    assert_eq!(provision(&connection, &with_partitions(16)).await.unwrap(), created);
    assert_eq!(settings(&connection).await.unwrap(), created);
    let layout = layout(connection.namespace(), &created, &options);
    assert_eq!(layout.len(), 9);
    for wanted in layout {
        let found = stream_info(&connection, &wanted.name).await.unwrap().unwrap().config;
        assert_eq!(stepwell_connection::provision::differences(&wanted, &found), [], "{}", wanted.name);
    }
    for bucket in [Bucket::State, Bucket::Timers, Bucket::Idempotency, Bucket::Owners, Bucket::Heartbeats] {
        let store = connection.bucket(bucket).await.unwrap();
        store.put("key", "value".into()).await.unwrap();
        assert_eq!(store.get("key").await.unwrap().unwrap(), "value");
    }
}

fn with_shards(shards: u32) -> ProvisionOptions {
    ProvisionOptions { shards: Some(shards), ..with_partitions(4) }
}

#[tokio::test]
async fn tasks_and_histories_are_spread_over_as_many_streams_as_there_are_shards() {
    let server = server();
    let connection = connect(&server).await;
    assert!(connection.shards().await.unwrap_err().not_found());
    let created = provision(&connection, &with_shards(3)).await.unwrap();
    assert_eq!((created.shards.count(), connection.shards().await.unwrap()), (3, created.shards));
    // Nothing is lost between the streams, and the server takes no subject for two of them.
    for partition in 0..4 {
        let subject = format!("stepwell.default.history.{partition}.order");
        let ack = publish(&connection, &subject, &[], "x").await.unwrap();
        let wanted = Stream::History(created.shards.of_partition(partition)).name(connection.namespace());
        assert_eq!(ack.stream, wanted);
    }
    for shard in created.shards.all() {
        let task = subject::task(connection.namespace(), &Name::new("gpu").unwrap(), shard);
        let ack = publish(&connection, &task, &[], "x").await.unwrap();
        assert_eq!(ack.stream, Stream::Tasks(shard).name(connection.namespace()));
        let all = subject::all_tasks(connection.namespace(), shard);
        let stored = stored_tasks(&connection, shard, &all).await.unwrap();
        assert_eq!(stored.of("gpu"), 1);
        ensure_queue(&connection, &Name::new("gpu").unwrap(), shard).await.unwrap();
    }
    assert_eq!(provision(&connection, &ProvisionOptions::default()).await.unwrap(), created);
    let error = provision(&connection, &with_shards(2)).await.unwrap_err();
    assert!(error.to_string().contains("has 3 shards and 2 were asked for"), "{error}");
    assert!(error.to_string().contains("Leave --shards out"), "{error}");
}

#[tokio::test]
async fn a_number_of_shards_that_makes_no_sense_is_refused_and_nothing_is_created() {
    let server = server();
    let connection = connect(&server).await;
    for shards in [0, 5, 17] {
        let error = provision(&connection, &with_shards(shards)).await.unwrap_err();
        assert_eq!(error, ProvisionError::ShardCount { shards, partitions: 4 });
    }
    assert!(matches!(settings(&connection).await, Err(ProvisionError::NotProvisioned { .. })));
}

#[tokio::test]
async fn a_stream_of_tasks_that_does_not_say_that_there_are_others_is_refused() {
    let server = server();
    let connection = connect(&server).await;
    provision(&connection, &with_shards(2)).await.unwrap();
    let name = Stream::Tasks(Shard::FIRST).name(connection.namespace());
    let mut config = stream_info(&connection, &name).await.unwrap().unwrap().config;
    config.metadata.clear();
    connection.jetstream().update_stream(config).await.unwrap();
    let error = provision(&connection, &ProvisionOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("stepwell_shards is none, expected 2"), "{error}");
}

#[tokio::test]
async fn orchestrators_that_start_at_once_agree() {
    let server = shared(server());
    let tasks: Vec<_> = [3, 5, 7, 11]
        .map(|partitions| {
            let server = server.clone();
            tokio::spawn(
                async move { provision(&connect(&server).await, &with_partitions(partitions)).await },
            )
        })
        .into();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(settings) => won.push(settings.partitions),
            Err(ProvisionError::Fixed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    let connection = connect(&server).await;
    assert_eq!(provision(&connection, &ProvisionOptions::default()).await.unwrap().partitions, won[0]);
}

#[tokio::test]
async fn all_that_start_at_once_on_a_new_namespace_find_it_complete() {
    let server = shared(server());
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let connection = connect(&server).await;
                provision(&connection, &ProvisionOptions::default()).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().partitions, 16);
    }
    let owners = connect(&server).await.bucket(Bucket::Owners).await.unwrap();
    assert!(owners.get(PROVISIONED_KEY).await.unwrap().is_some());
}

#[tokio::test]
async fn a_first_start_that_ended_anywhere_is_gone_on_with() {
    let (_server, connection, settings) = namespace().await;
    let jetstream = connection.jetstream();
    let layout = layout(connection.namespace(), &settings, &ProvisionOptions::default());
    let owners = Bucket::Owners.stream_name(connection.namespace());
    let others: Vec<_> = layout.iter().filter(|config| config.name != owners).collect();
    for begun in 0..=others.len() {
        // As it is left when the first start ends after so many streams.
        connection.bucket(Bucket::Owners).await.unwrap().purge(PROVISIONED_KEY).await.unwrap();
        for config in &others[begun..] {
            jetstream.delete_stream(&config.name).await.unwrap();
        }
        assert_eq!(provision(&connection, &ProvisionOptions::default()).await.unwrap(), settings, "{begun}");
    }
    // Before it had written the settings, and before anything.
    for config in &layout {
        jetstream.delete_stream(&config.name).await.unwrap();
    }
    let first = layout.iter().find(|config| config.name == owners).unwrap();
    jetstream.create_stream(first).await.unwrap();
    provision(&connection, &with_partitions(4)).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_has_vanished_is_never_a_fresh_start() {
    let (_server, connection, settings) = namespace().await;
    let jetstream = connection.jetstream();
    // No more than a small disk has.
    let options = ProvisionOptions { max_bytes: Some(64 * 1024 * 1024), ..ProvisionOptions::default() };
    for config in layout(connection.namespace(), &settings, &options) {
        let name = &config.name;
        if name.ends_with("_owners") {
            continue;
        }
        jetstream.delete_stream(name).await.unwrap();
        let error = provision(&connection, &options).await.unwrap_err();
        let expected = ProvisionError::Vanished { stream: name.clone(), namespace: "default".into() };
        assert_eq!(error, expected);
        assert!(error.to_string().contains("nats kv del STEPWELL_default_owners provisioned"), "{error}");
        assert!(stream_info(&connection, name).await.unwrap().is_none(), "nothing is created");
        // Made again by somebody, and as it must be, it still is not the one that was there. Times of creation
        // that are a second apart are the same.
        eventually_another(&connection, &config, &options).await;
        // The loss is accepted.
        connection.bucket(Bucket::Owners).await.unwrap().delete(PROVISIONED_KEY).await.unwrap();
        assert_eq!(provision(&connection, &options).await.unwrap(), settings);
        assert_eq!(provision(&connection, &options).await.unwrap(), settings);
    }
}

/// Makes a stream until it differs enough in its age from the one that was there, and sees it refused.
async fn eventually_another(connection: &Connection, config: &Config, options: &ProvisionOptions) {
    let refused = async {
        loop {
            connection.jetstream().create_stream(config).await.unwrap();
            match provision(connection, options).await {
                Ok(_) => {}
                Err(ProvisionError::MadeAnew { stream, .. }) => return stream,
                Err(error) => panic!("{error}"),
            }
            connection.jetstream().delete_stream(&config.name).await.unwrap();
        }
    };
    let stream = tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    assert_eq!(stream, config.name);
}

#[tokio::test]
async fn streams_whose_settings_have_vanished_are_not_begun_with_again() {
    let (_server, connection, _) = namespace().await;
    connection.jetstream().delete_stream("KV_STEPWELL_default_owners").await.unwrap();
    let error = provision(&connection, &ProvisionOptions::default()).await.unwrap_err();
    let expected = ProvisionError::OwnersVanished {
        namespace: "default".into(),
        stream: "STEPWELL_default_EVENTS".into(),
    };
    assert_eq!(error, expected);
    assert!(stream_info(&connection, "KV_STEPWELL_default_owners").await.unwrap().is_none());
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let (_server, connection, _) = namespace().await;
    let error = provision(&connection, &with_partitions(8)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the namespace default has 16 partitions and 8 were asked for; the number is fixed when a \
         namespace is created. Leave --partitions out, or use another namespace"
    );
    for none in [0, 257] {
        let error = provision(&connection, &with_partitions(none)).await.unwrap_err();
        assert_eq!(error, ProvisionError::PartitionCount(none));
    }
}

#[tokio::test]
async fn a_namespace_that_nobody_created_is_no_namespace() {
    let server = server();
    let connection = connect(&server).await;
    let error = settings(&connection).await.unwrap_err();
    assert_eq!(error, ProvisionError::NotProvisioned { namespace: "default".into() });
    let error = ensure_queue(&connection, &Name::new("q").unwrap(), Shard::FIRST).await.unwrap_err();
    assert_eq!(error, ProvisionError::NotProvisioned { namespace: "default".into() });
}

#[tokio::test]
async fn namespaces_stand_beside_each_other() {
    let (server, _, _) = namespace().await;
    let options = ConnectionOptions {
        namespace: Namespace::new("other").unwrap(),
        ..ConnectionOptions::to_url(&server.url())
    };
    let other = options.connect("test").await.unwrap();
    assert_eq!(provision(&other, &with_partitions(4)).await.unwrap().partitions, 4);
}

/// Creates one stream of the layout with a change, then provisions; returns the text of the error.
async fn refused(stream: &str, change: fn(&mut Config)) -> String {
    let server = server();
    let connection = connect(&server).await;
    let settings =
        stepwell_connection::provision::Settings { v: VERSION, partitions: 16, shards: Shards::ONE };
    let layout = layout(connection.namespace(), &settings, &ProvisionOptions::default());
    let mut config = layout.into_iter().find(|config| config.name == stream).unwrap();
    change(&mut config);
    connection.jetstream().create_stream(&config).await.unwrap();
    let before = stream_info(&connection, stream).await.unwrap().unwrap().config;
    let error = provision(&connection, &ProvisionOptions::default()).await.unwrap_err();
    let after = stream_info(&connection, stream).await.unwrap().unwrap().config;
    assert_eq!(before, after, "what exists is never changed");
    error.to_string()
}

#[tokio::test]
async fn streams_that_would_lose_or_misplace_messages_are_refused() {
    let error = refused("STEPWELL_default_TASKS", |c| c.retention = RetentionPolicy::Limits).await;
    assert!(error.contains("retention is limits, expected workqueue"), "{error}");
    let error = refused("STEPWELL_default_HISTORY", |c| c.persist_mode = Some(PersistenceMode::Async)).await;
    assert!(error.contains("persist_mode is async, expected default"), "{error}");
    let error = refused("STEPWELL_default_EVENTS", |c| {
        c.subject_transform = Some(SubjectTransform {
            source: "stepwell.default.workflow.*.>".into(),
            destination: "stepwell.default.event.{{partition(8,1)}}.{{wildcard(1)}}.>".into(),
        });
    })
    .await;
    assert!(error.contains("partition(8,1)") && error.contains("partition(16,1)"), "{error}");
    let error = refused("KV_STEPWELL_default_state", |c| c.max_messages_per_subject = 5).await;
    assert!(error.contains("max_msgs_per_subject is 5, expected 1"), "{error}");
}

#[tokio::test]
async fn a_small_server_gets_streams_without_limits_of_their_own() {
    // A second block takes the place of the first one, with everything in it.
    let store = std::env::temp_dir().join(format!("stepwell-small-{}", std::process::id()));
    let server = server_with(&format!(
        "jetstream {{ store_dir: {:?}, max_file_store: 100MB }}",
        store.to_string_lossy()
    ));
    let connection = connect(&server).await;
    provision(&connection, &ProvisionOptions::default()).await.unwrap();
    let events = stream_info(&connection, "STEPWELL_default_EVENTS").await.unwrap().unwrap();
    assert_eq!(events.config.max_bytes, -1);
    // What was asked for by name is not lowered behind anybody's back.
    let options = ConnectionOptions {
        namespace: Namespace::new("other").unwrap(),
        ..ConnectionOptions::to_url(&server.url())
    };
    let wanted = ProvisionOptions { max_bytes: Some(1 << 40), ..ProvisionOptions::default() };
    let error = provision(&options.connect("test").await.unwrap(), &wanted).await.unwrap_err();
    assert!(matches!(error, ProvisionError::JetStream { .. }), "{error}");
    drop(server);
    let _ = std::fs::remove_dir_all(store);
}

#[tokio::test]
async fn a_queue_has_one_consumer_however_often_it_is_asked_for() {
    let (_server, connection, _) = namespace().await;
    let queue = Name::new("gpu-workers").unwrap();
    let mut first = ensure_queue(&connection, &queue, Shard::FIRST).await.unwrap();
    let config = first.info().await.unwrap().config.clone();
    assert_eq!(config.durable_name.as_deref(), Some("gpu-workers"));
    assert_eq!(config.filter_subject, "stepwell.default.task.gpu-workers");
    ensure_queue(&connection, &queue, Shard::FIRST).await.unwrap();
    ensure_queue(&connection, &Name::new("default").unwrap(), Shard::FIRST).await.unwrap();
    let tasks = stream_info(&connection, "STEPWELL_default_TASKS").await.unwrap().unwrap();
    assert_eq!(tasks.state.consumer_count, 2);
}

#[tokio::test]
async fn a_consumer_that_is_made_anew_keeps_its_limits_and_gives_out_everything() {
    let (_server, connection, _) = namespace().await;
    let queue = Name::new("gpu").unwrap();
    let mut first = ensure_queue(&connection, &queue, Shard::FIRST).await.unwrap();
    let task = subject::task(connection.namespace(), &queue, Shard::FIRST);
    for body in ["one", "two"] {
        connection.publisher().publish(task.clone(), None, body.into()).await.unwrap().await.unwrap();
    }
    let held = async |consumer: &PullConsumer, most: usize| -> Vec<String> {
        let messages = consumer.fetch().max_messages(most).messages().await.unwrap();
        let bodies = messages.map(|message| String::from_utf8(message.unwrap().payload.to_vec()).unwrap());
        bodies.collect().await
    };
    assert_eq!(held(&first, 1).await, ["one"]);
    let mut edited = first.info().await.unwrap().config.clone();
    edited.max_ack_pending = 7;
    edited.max_deliver = 3;
    remake_queue(&connection, &queue, Shard::FIRST, &edited).await.unwrap();
    // Who makes it by default at the same moment does not undo what was chosen.
    let anew = ensure_queue(&connection, &queue, Shard::FIRST).await.unwrap();
    let found = &anew.cached_info().config;
    assert_eq!((found.max_ack_pending, found.max_deliver), (7, -1));
    assert_eq!(held(&anew, 2).await, ["one", "two"]);
}

#[tokio::test]
async fn tasks_are_counted_by_queue() {
    let (_server, connection, _) = namespace().await;
    let all = subject::all_tasks(connection.namespace(), Shard::FIRST);
    assert_eq!(stored_tasks(&connection, Shard::FIRST, &all).await.unwrap().by_queue.len(), 0);
    for queue in ["a", "b", "a"] {
        let task = subject::task(connection.namespace(), &Name::new(queue).unwrap(), Shard::FIRST);
        connection.publisher().publish(task, None, "{}".into()).await.unwrap().await.unwrap();
    }
    let stored = stored_tasks(&connection, Shard::FIRST, &all).await.unwrap();
    assert_eq!((stored.of("a"), stored.of("b"), stored.of("c"), stored.first_sequence), (2, 1, 0, 1));
    let only = subject::task(connection.namespace(), &Name::new("b").unwrap(), Shard::FIRST);
    let stored = stored_tasks(&connection, Shard::FIRST, &only).await.unwrap();
    assert_eq!((stored.of("a"), stored.of("b")), (0, 1));
}

#[tokio::test]
async fn a_server_without_jetstream_for_the_account_is_told() {
    let server =
        server_with("accounts { PLAIN { users: [{user: plain, password: secret}] } }\nno_auth_user: plain");
    let connection = connect(&server).await;
    let error = provision(&connection, &ProvisionOptions::default()).await.unwrap_err();
    assert!(matches!(error, ProvisionError::NoJetStream { .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_server_are_told_apart() {
    let mut server = server_with("authorization { user: joe, password: right }");
    let mut options = ConnectionOptions::to_url(&server.url());
    options.nats_user = Some("joe".into());
    options.nats_password = Some("right".into());
    options.connect("test").await.unwrap();
    options.nats_password = Some("wrong".into());
    let error = options.connect("test").await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    server.kill();
    let error = options.connect("test").await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.retryable());
    // Who waits gets through when the server is there.
    options.nats_password = Some("right".into());
    let waiting = tokio::spawn(async move { options.connect_patiently("test").await.is_ok() });
    server.restart().unwrap();
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn a_missing_permission_is_remembered_as_the_servers_complaint() {
    let server = server_with(
        "authorization { users: [{ user: joe, password: secret, permissions: { publish: { deny: secret.x } } }] }",
    );
    let mut options = ConnectionOptions::to_url(&server.url());
    options.nats_user = Some("joe".into());
    options.nats_password = Some("secret".into());
    let connection = options.connect("test").await.unwrap();
    assert_eq!(connection.complaint(), None);
    connection.client().publish("secret.x", "".into()).await.unwrap();
    let complaint = loop {
        // The complaint comes before the answer to what is sent after it.
        let nobody = request(&connection, "nobody", "", Duration::from_secs(30)).await;
        assert_eq!(nobody, Err(RequestError::NoResponders));
        match connection.complaint() {
            Some(complaint) => break complaint,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(complaint.to_lowercase().contains("permissions violation"), "{complaint}");
}
