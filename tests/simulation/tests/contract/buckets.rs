//! Buckets: the last value counts, and who wants to change one names what it saw.

use stepwell_shared::ids::Namespace;
use stepwell_shared::subject::Bucket;
use stepwell_simulation::backend::{Entry, Message, Refusal};

use crate::{Backend, cases};

cases! {
    the_last_value_counts,
    an_update_names_what_it_saw,
    a_removed_key_has_no_value,
    a_plain_publish_writes_too,
    a_removal_may_leave_no_trace,
}

fn values(backend: &mut impl Backend, bucket: Bucket) -> Vec<String> {
    let entries = backend.entries(bucket);
    entries.into_iter().map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(&value))).collect()
}

fn the_last_value_counts(backend: &mut impl Backend) {
    assert_eq!(backend.get(Bucket::State, "a"), None);
    let first = backend.put(Bucket::State, "a", b"1");
    let second = backend.put(Bucket::State, "a", b"2");
    backend.put(Bucket::State, "b", b"3");
    assert!(second > first);
    assert_eq!(backend.get(Bucket::State, "a"), Some(Entry { revision: second, value: b"2".to_vec() }));
    assert_eq!(values(backend, Bucket::State), ["a=2", "b=3"]);
    assert_eq!(values(backend, Bucket::Timers), [""; 0]);
}

fn an_update_names_what_it_saw(backend: &mut impl Backend) {
    let bucket = Bucket::Owners;
    assert_eq!(backend.update(bucket, "leader", b"x", 7), Err(Refusal::WrongLastSequence));
    let first = backend.update(bucket, "leader", b"a", 0).expect("nobody was there");
    assert_eq!(backend.update(bucket, "leader", b"b", 0), Err(Refusal::WrongLastSequence));
    let second = backend.update(bucket, "leader", b"b", first).expect("nobody else wrote");
    assert_eq!(backend.update(bucket, "leader", b"c", first), Err(Refusal::WrongLastSequence));
    let third = backend.put(bucket, "leader", b"d");
    assert_eq!(backend.update(bucket, "leader", b"e", second), Err(Refusal::WrongLastSequence));
    backend.update(bucket, "leader", b"e", third).expect("nobody else wrote");
}

fn a_removed_key_has_no_value(backend: &mut impl Backend) {
    backend.put(Bucket::State, "a", b"1");
    backend.put(Bucket::State, "b", b"2");
    backend.purge(Bucket::State, "a");
    assert_eq!(backend.get(Bucket::State, "a"), None);
    assert_eq!(values(backend, Bucket::State), ["b=2"]);
    // Its trace counts: who did not see it may not write.
    assert_eq!(backend.update(Bucket::State, "a", b"3", 0), Err(Refusal::WrongLastSequence));
    backend.put(Bucket::State, "a", b"3");
    assert_eq!(values(backend, Bucket::State), ["a=3", "b=2"]);
}

fn a_plain_publish_writes_too(backend: &mut impl Backend) {
    let subject = Bucket::Timers.subject(&Namespace::default(), "3.a");
    backend.put(Bucket::Timers, "3.a", b"1");
    let ack = backend.publish(Message::new(subject, "2")).expect("it is stored");
    let entry = Entry { revision: ack.sequence, value: b"2".to_vec() };
    assert_eq!(backend.get(Bucket::Timers, "3.a"), Some(entry));
    assert_eq!(values(backend, Bucket::Timers), ["3.a=2"]);
}

fn a_removal_may_leave_no_trace(backend: &mut impl Backend) {
    let subject = Bucket::Timers.subject(&Namespace::default(), "3.a");
    backend.put(Bucket::Timers, "3.a", b"1");
    let removal = Message::new(&subject, "")
        .with_header("KV-Operation", "PURGE")
        .with_header("Nats-Rollup", "sub")
        .with_header("Nats-TTL", "1s");
    backend.publish(removal).expect("it is stored");
    assert_eq!(backend.get(Bucket::Timers, "3.a"), None);
    assert_eq!(values(backend, Bucket::Timers), [""; 0]);
    backend.pass(4_000);
    // The key is as if it had never been there.
    backend.update(Bucket::Timers, "3.a", b"2", 0).expect("no trace is left");
}
