//! Streams: who may append, what counts as a repeat, what is read back.

use stepwell_shared::ids::Namespace;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, EventAddress, Stream};
use stepwell_simulation::backend::{Acked, Message, Refusal};

use crate::{Backend, PARTITIONS, cases, id, name};

cases! {
    an_append_names_the_last_message,
    subjects_do_not_stand_in_each_others_way,
    after_a_purge_the_subject_is_new,
    a_repeat_is_recognised_by_its_id,
    a_refused_message_is_not_remembered,
    messages_are_read_in_order_from_a_sequence,
    trimming_keeps_sequences_and_the_rest,
    events_are_stored_under_their_partition,
    nobody_listens_elsewhere,
}

fn history(text: &str) -> String {
    subject::history(&Namespace::default(), &id(text), PARTITIONS)
}

fn stored(ack: Result<Acked, Refusal>) -> u64 {
    let ack = ack.expect("it is stored");
    assert!(!ack.duplicate, "it is no repeat");
    ack.sequence
}

fn bodies(backend: &mut impl Backend, stream: Stream, filter: &str, from: u64) -> Vec<String> {
    let messages = backend.read(stream, filter, from, 1_000);
    messages.into_iter().map(|it| String::from_utf8(it.body).expect("text")).collect()
}

fn append(backend: &mut impl Backend, body: &str, last: u64) -> Result<Acked, Refusal> {
    backend.publish(Message::new(history("a"), body).after(last))
}

fn an_append_names_the_last_message(backend: &mut impl Backend) {
    let subject = history("a");
    let first = stored(append(backend, "1", 0));
    assert_eq!(append(backend, "again", 0), Err(Refusal::WrongLastSequence));
    assert_eq!(append(backend, "too far", first + 1), Err(Refusal::WrongLastSequence));
    let second = stored(append(backend, "2", first));
    assert_eq!(append(backend, "late", first), Err(Refusal::WrongLastSequence));
    // Who names nothing is not held up, and holds up those who do.
    let third = stored(backend.publish(Message::new(&subject, "3")));
    assert_eq!(append(backend, "late", second), Err(Refusal::WrongLastSequence));
    stored(append(backend, "4", third));
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &subject, 0), ["1", "2", "3", "4"]);
}

fn subjects_do_not_stand_in_each_others_way(backend: &mut impl Backend) {
    let (a, b) = (history("a"), history("b"));
    let first = stored(backend.publish(Message::new(&a, "a1").after(0)));
    stored(backend.publish(Message::new(&b, "b1").after(0)));
    stored(backend.publish(Message::new(&b, "b2")));
    stored(backend.publish(Message::new(&a, "a2").after(first)));
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &a, 0), ["a1", "a2"]);
}

fn after_a_purge_the_subject_is_new(backend: &mut impl Backend) {
    let (a, b) = (history("a"), history("b"));
    let last = stored(backend.publish(Message::new(&a, "a1")));
    stored(backend.publish(Message::new(&b, "b1")));
    backend.purge_subject(Stream::History(Shard::FIRST), &a);
    let late = backend.publish(Message::new(&a, "late").after(last));
    assert_eq!(late, Err(Refusal::WrongLastSequence));
    let again = stored(backend.publish(Message::new(&a, "a2").after(0)));
    assert!(again > last + 1, "sequences are not given out twice");
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &a, 0), ["a2"]);
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &b, 0), ["b1"]);
}

fn a_repeat_is_recognised_by_its_id(backend: &mut impl Backend) {
    let namespace = Namespace::default();
    let task = |queue: &str, id: &str| {
        Message::new(subject::task(&namespace, &name(queue), Shard::FIRST), "x").with_id(id)
    };
    let first = stored(backend.publish(task("q", "run/1/1")));
    let repeat = backend.publish(task("q", "run/1/1"));
    assert_eq!(repeat, Ok(Acked { sequence: first, duplicate: true }));
    // In the whole stream, whatever the subject.
    assert_eq!(backend.publish(task("other", "run/1/1")), repeat);
    let second = stored(backend.publish(task("q", "run/1/2")));
    assert_eq!(second, first + 1, "a repeat takes no sequence");
    assert_eq!(
        backend.read(Stream::Tasks(Shard::FIRST), &subject::all_tasks(&namespace, Shard::FIRST), 0, 9).len(),
        2
    );
    let ids: Vec<_> =
        backend.read(Stream::Tasks(Shard::FIRST), &subject::all_tasks(&namespace, Shard::FIRST), 0, 9);
    let ids: Vec<_> = ids.into_iter().filter_map(|it| it.message_id).collect();
    assert_eq!(ids, ["run/1/1", "run/1/2"]);
}

fn a_refused_message_is_not_remembered(backend: &mut impl Backend) {
    let subject = history("a");
    stored(backend.publish(Message::new(&subject, "1")));
    let refused = backend.publish(Message::new(&subject, "2").with_id("two").after(0));
    assert_eq!(refused, Err(Refusal::WrongLastSequence));
    stored(backend.publish(Message::new(&subject, "2").with_id("two")));
}

fn messages_are_read_in_order_from_a_sequence(backend: &mut impl Backend) {
    let mut sequences = Vec::new();
    for number in 0..20 {
        let subject = history(if number % 2 == 0 { "even" } else { "odd" });
        sequences.push(stored(backend.publish(Message::new(subject, number.to_string()))));
    }
    assert!(sequences.is_sorted());
    assert_eq!(backend.last_sequence(Stream::History(Shard::FIRST)), sequences[19]);
    let even = history("even");
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &even, sequences[14]), ["14", "16", "18"]);
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &even, sequences[15]), ["16", "18"]);
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &even, sequences[19] + 1), [""; 0]);
    let all = subject::all_histories(&Namespace::default());
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &all, sequences[17]), ["17", "18", "19"]);
    let few = backend.read(Stream::History(Shard::FIRST), &all, 0, 3);
    assert_eq!(few.iter().map(|it| it.sequence).collect::<Vec<_>>(), sequences[..3]);
    assert_eq!(few[1].subject, history("odd"));
    assert_eq!(bodies(backend, Stream::History(Shard::FIRST), &history("nobody"), 0), [""; 0]);
}

fn trimming_keeps_sequences_and_the_rest(backend: &mut impl Backend) {
    let namespace = Namespace::default();
    let cancel = subject::event(&namespace, &id("a"), &EventAddress::Cancel);
    let sequences: Vec<u64> =
        (0..10).map(|number| stored(backend.publish(Message::new(&cancel, number.to_string())))).collect();
    let all = "stepwell.default.event.>";
    // Up to, and not with, the sequence that is named.
    backend.purge_below(Stream::Events, sequences[7]);
    assert_eq!(bodies(backend, Stream::Events, all, 0), ["7", "8", "9"]);
    assert_eq!(bodies(backend, Stream::Events, all, sequences[3]), ["7", "8", "9"]);
    backend.purge_below(Stream::Events, sequences[9] + 1);
    assert_eq!(bodies(backend, Stream::Events, all, 0), [""; 0]);
    assert_eq!(backend.last_sequence(Stream::Events), sequences[9]);
    assert_eq!(stored(backend.publish(Message::new(&cancel, "10"))), sequences[9] + 1);
}

fn events_are_stored_under_their_partition(backend: &mut impl Backend) {
    let namespace = Namespace::default();
    let in_partition = |partition: u32| format!("stepwell.{namespace}.event.{partition}.>");
    let ids = ["a", "b", "order 7", "x.y", "=3D", "ключ", "a/b", "00000000-0000-7000-8000-000000000000"];
    for text in ids {
        for address in [
            EventAddress::Cancel,
            EventAddress::Start { workflow_type: name("order") },
            EventAddress::Report {
                run_id: "run".parse().expect("an id"),
                step: "undo-3".parse().expect("a step"),
            },
        ] {
            let published = subject::event(&namespace, &id(text), &address);
            let sequence = stored(backend.publish(Message::new(published, text)));
            let partition = subject::partition(&id(text), PARTITIONS);
            let filter = in_partition(partition);
            let found = backend.read(Stream::Events, &filter, sequence, 1);
            assert_eq!(found.len(), 1, "{text:?} is not in partition {partition}");
            assert_eq!(subject::parse_stored_event(&found[0].subject), Ok((id(text), address)));
        }
    }
    let all: usize =
        (0..PARTITIONS).map(|it| backend.read(Stream::Events, &in_partition(it), 0, 99).len()).sum();
    assert_eq!(all, ids.len() * 3, "an event is in one partition");
}

fn nobody_listens_elsewhere(backend: &mut impl Backend) {
    for subject in ["stepwell.other.workflow.a.cancel", "stepwell.default.workflow.a", "elsewhere"] {
        assert_eq!(backend.publish(Message::new(subject, "x")), Err(Refusal::NoStream), "{subject}");
    }
}
