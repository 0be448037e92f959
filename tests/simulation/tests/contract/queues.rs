//! Work queues: who gets a task, how often, and when it is gone.

use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};
use stepwell_simulation::backend::{Handed, Message};

use crate::{Backend, cases, name};

/// Short, so that the suite is; long enough that a slow machine does not pass it between two calls.
const ACK_WAIT_MS: u64 = 2_000;

/// Longer than any redelivery takes.
const PATIENCE_MS: u64 = 10_000;

cases! {
    tasks_are_handed_out_once_in_order,
    an_acknowledged_task_is_gone_for_good,
    a_silent_worker_loses_its_task,
    who_says_that_it_works_keeps_its_task,
    a_late_acknowledgement_counts,
    queues_are_apart,
    tasks_may_lie_there_before_the_queue,
}

fn add(backend: &mut impl Backend, queue: &Name, body: &str) {
    let subject = subject::task(&Namespace::default(), queue, Shard::FIRST);
    backend.publish(Message::new(subject, body).with_id(body)).expect("it is stored");
}

fn shown(tasks: &[Handed]) -> Vec<String> {
    tasks.iter().map(|it| format!("{} {}", String::from_utf8_lossy(&it.body), it.num_delivered)).collect()
}

fn queue(backend: &mut impl Backend, tasks: &[&str]) -> Name {
    let queue = name("q");
    backend.make_queue(&queue, ACK_WAIT_MS);
    for task in tasks {
        add(backend, &queue, task);
    }
    queue
}

fn lying(backend: &mut impl Backend) -> usize {
    backend
        .read(Stream::Tasks(Shard::FIRST), &subject::all_tasks(&Namespace::default(), Shard::FIRST), 0, 99)
        .len()
}

fn tasks_are_handed_out_once_in_order(backend: &mut impl Backend) {
    let queue = queue(backend, &["a", "b", "c"]);
    assert_eq!(shown(&backend.pull(&queue, 1, PATIENCE_MS)), ["a 1"]);
    assert_eq!(shown(&backend.pull(&queue, 5, PATIENCE_MS)), ["b 1", "c 1"]);
    assert_eq!(shown(&backend.pull(&queue, 5, 1)), [""; 0]);
    assert_eq!(lying(backend), 3, "handed out is not done");
}

fn an_acknowledged_task_is_gone_for_good(backend: &mut impl Backend) {
    let queue = queue(backend, &["a", "b"]);
    let tasks = backend.pull(&queue, 2, PATIENCE_MS);
    backend.ack(&tasks[0]);
    assert_eq!(lying(backend), 1);
    backend.ack(&tasks[1]);
    backend.pass(ACK_WAIT_MS + 500);
    assert_eq!(shown(&backend.pull(&queue, 2, 1)), [""; 0]);
    assert_eq!(lying(backend), 0);
    // And still known by its id.
    let subject = subject::task(&Namespace::default(), &queue, Shard::FIRST);
    let again = backend.publish(Message::new(subject, "a").with_id("a")).expect("an answer");
    assert!(again.duplicate);
    assert_eq!(again.sequence, tasks[0].sequence);
}

fn a_silent_worker_loses_its_task(backend: &mut impl Backend) {
    let queue = queue(backend, &["a"]);
    let first = backend.pull(&queue, 1, PATIENCE_MS);
    assert_eq!(shown(&first), ["a 1"]);
    let second = backend.pull(&queue, 1, PATIENCE_MS);
    assert_eq!(shown(&second), ["a 2"]);
    assert_eq!(first[0].sequence, second[0].sequence);
    let third = backend.pull(&queue, 1, PATIENCE_MS);
    assert_eq!(shown(&third), ["a 3"]);
    backend.ack(&third[0]);
    assert_eq!(lying(backend), 0);
}

fn who_says_that_it_works_keeps_its_task(backend: &mut impl Backend) {
    let queue = queue(backend, &["a"]);
    let task = backend.pull(&queue, 1, PATIENCE_MS);
    for _ in 0..4 {
        backend.pass(ACK_WAIT_MS * 3 / 5);
        backend.in_progress(&task[0]);
        assert_eq!(shown(&backend.pull(&queue, 1, 1)), [""; 0]);
    }
    assert_eq!(shown(&backend.pull(&queue, 1, PATIENCE_MS)), ["a 2"]);
}

fn a_late_acknowledgement_counts(backend: &mut impl Backend) {
    let queue = queue(backend, &["a"]);
    let first = backend.pull(&queue, 1, PATIENCE_MS);
    let second = backend.pull(&queue, 1, PATIENCE_MS);
    assert_eq!(second[0].num_delivered, 2);
    backend.ack(&first[0]);
    assert_eq!(lying(backend), 0);
    backend.pass(ACK_WAIT_MS + 500);
    assert_eq!(shown(&backend.pull(&queue, 1, 1)), [""; 0]);
}

fn queues_are_apart(backend: &mut impl Backend) {
    let (left, right) = (name("left"), name("right"));
    backend.make_queue(&left, ACK_WAIT_MS);
    backend.make_queue(&right, ACK_WAIT_MS);
    for (queue, task) in [(&left, "l1"), (&right, "r1"), (&left, "l2")] {
        add(backend, queue, task);
    }
    assert_eq!(shown(&backend.pull(&right, 9, PATIENCE_MS)), ["r1 1"]);
    assert_eq!(shown(&backend.pull(&left, 9, PATIENCE_MS)), ["l1 1", "l2 1"]);
}

fn tasks_may_lie_there_before_the_queue(backend: &mut impl Backend) {
    let queue = name("late");
    add(backend, &queue, "a");
    backend.make_queue(&queue, ACK_WAIT_MS);
    // Made twice is made once.
    backend.make_queue(&queue, ACK_WAIT_MS);
    assert_eq!(shown(&backend.pull(&queue, 9, PATIENCE_MS)), ["a 1"]);
}
