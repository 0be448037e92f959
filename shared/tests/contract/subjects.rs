//! Subjects and keys: what is written is read back, every id has one spelling, and no other text is
//! taken for one.

use proptest::prelude::*;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::ids::{Name, Namespace, RunId, StepId, WorkerId, WorkflowId};
use stepwell_shared::partition::partition_of_token;
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::{self, Bucket, EventAddress, Stream, parse_stored_event};

fn id() -> impl Strategy<Value = WorkflowId> {
    "[^\\p{Cc}]{1,50}".prop_map(|text| WorkflowId::new(text).unwrap())
}

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9_-]{1,20}".prop_map(|text| Name::new(text).unwrap())
}

fn address() -> impl Strategy<Value = EventAddress> {
    let step = (1u32.., any::<bool>())
        .prop_map(|(seq, undo)| if undo { StepId::Undo(seq) } else { StepId::Action(seq) });
    prop_oneof![
        name().prop_map(|workflow_type| EventAddress::Start { workflow_type }),
        name().prop_map(|name| EventAddress::Signal { name }),
        Just(EventAddress::Cancel),
        Just(EventAddress::Terminate),
        Just(EventAddress::Reports),
        (name(), step)
            .prop_map(|(run, step)| EventAddress::Report { run_id: RunId::new(run.as_str()).unwrap(), step }),
        (1u32..).prop_map(|seq| EventAddress::Compensation { seq }),
    ]
}

/// What the EVENTS stream's transform makes of a published subject.
fn stored(published: &str, partitions: u32) -> String {
    let tokens: Vec<&str> = published.split('.').collect();
    let ["stepwell", namespace, "workflow", id, rest @ ..] = tokens.as_slice() else { panic!("{published}") };
    let partition = partition_of_token(id, partitions);
    format!("stepwell.{namespace}.event.{partition}.{id}.{}", rest.join("."))
}

proptest! {
    #[test]
    fn tokens_read_back(text in any::<String>()) {
        let token = subject::escape(&text);
        prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/=".contains(&b)), "{token}");
        prop_assert_eq!(subject::unescape(&token), Some(text));
    }

    #[test]
    fn no_two_tokens_mean_the_same(token in "[A-Za-z0-9_/=.%é-]{0,12}") {
        if let Some(text) = subject::unescape(&token) {
            prop_assert_eq!(subject::escape(&text), token);
        }
    }

    #[test]
    fn published_events_read_back(id in id(), address in address(), partitions in 1u32..64) {
        let published = subject::event(&Namespace::default(), &id, &address);
        prop_assert_eq!(parse_stored_event(&stored(&published, partitions)), Ok((id, address)));
    }

    #[test]
    fn any_subject_reads_or_is_malformed(text in any::<String>()) {
        let _ = parse_stored_event(&text);
        let _ = subject::parse_timer_key(&text);
        let _ = parse_stored_event(&format!("stepwell.default.event.0.{text}"));
    }

    #[test]
    fn timer_keys_read_back(id in id(), partitions in 1u32..64) {
        let key = subject::timer_key(&id, partitions);
        let partition = subject::partition(&id, partitions);
        prop_assert_eq!(subject::parse_timer_key(&key), Some((partition, id)));
    }

    #[test]
    fn partitions_are_within_bounds(id in id(), partitions in 0u32..100) {
        prop_assert!(subject::partition(&id, partitions) < partitions.max(1));
        let history = subject::history(&Namespace::default(), &id, partitions);
        let token = history.split('.').nth(3).unwrap().parse::<u32>().unwrap();
        prop_assert_eq!(token, subject::partition(&id, partitions));
    }
}

#[test]
fn malformed_subjects_say_why() {
    let cases = [
        ("stepwell.default.event.0.a", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a.b.start.order", ErrorCode::MalformedSubject),
        ("stepwell.default.workflow.a.cancel", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a=2e.cancel", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a=61.cancel", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.=FF.cancel", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a=.cancel", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a.compensation.x", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a.compensation.0", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a.compensation.007", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a.compensation.+7", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a.compensation.undo-7", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.a.compensation.4294967296", ErrorCode::MalformedSubject),
        ("stepwell.default.event.0.=0A.cancel", ErrorCode::InvalidId),
        ("stepwell.default.event.0.a.start.or$der", ErrorCode::InvalidId),
        ("stepwell.default.event.0.a.activity.run.07", ErrorCode::InvalidId),
    ];
    for (subject, code) in cases {
        let error = parse_stored_event(subject).expect_err(subject);
        assert_eq!((error.code, error.subject.as_str()), (code, subject));
    }
}

#[test]
fn the_partition_is_the_servers() {
    // FNV-1a's published test values.
    assert_eq!(partition_of_token("", u32::MAX), 0x811c_9dc5);
    assert_eq!(partition_of_token("a", u32::MAX), 0xe40c_292c);
    assert_eq!(partition_of_token("foobar", u32::MAX), 0xbf9c_f968);
}

#[test]
fn names_of_everything() {
    let namespace = Namespace::new("shop").unwrap();
    let (queue, worker) = (Name::new("gpu").unwrap(), WorkerId::new("w-1").unwrap());
    let id = WorkflowId::new("order 7").unwrap();
    assert_eq!(Stream::Events.name(&namespace), "STEPWELL_shop_EVENTS");
    assert_eq!(Bucket::Timers.subject(&namespace, "3.a"), "$KV.STEPWELL_shop_timers.3.a");
    assert_eq!(subject::task(&namespace, &queue, Shard::FIRST), "stepwell.shop.task.gpu");
    assert_eq!(subject::all_tasks(&namespace, Shard::FIRST), "stepwell.shop.task.*");
    assert_eq!(Stream::Tasks(Shard::FIRST).name(&namespace), "STEPWELL_shop_TASKS");
    let two = Shards::try_from(2).unwrap();
    let second = two.of_partition(1);
    assert_eq!(subject::task(&namespace, &queue, second), "stepwell.shop.task.gpu.2");
    assert_eq!(subject::all_tasks(&namespace, second), "stepwell.shop.task.*.2");
    assert_eq!(subject::roll_call(&namespace, &queue, second), "stepwell.shop.roll-call.gpu.2");
    assert_eq!(Stream::Tasks(second).name(&namespace), "STEPWELL_shop_TASKS_2");
    assert_eq!(Stream::History(second).name(&namespace), "STEPWELL_shop_HISTORY_2");
    assert_eq!(subject::queue_of_task("stepwell.shop.task.gpu.2"), Some("gpu"));
    assert_eq!(subject::partition_of_history("stepwell.shop.history.7.order"), Some(7));
    assert_eq!(subject::histories(&namespace, Shard::FIRST, Shards::ONE, 3), ["stepwell.shop.history.>"]);
    let odd = ["stepwell.shop.history.1.>", "stepwell.shop.history.3.>"];
    assert_eq!(subject::histories(&namespace, second, two, 4), odd);
    assert_eq!(
        subject::sticky_workflow_task(&namespace, &queue, &worker),
        "stepwell.shop.workflow-task.gpu.w-1"
    );
    assert_eq!(subject::closed(&namespace, &id), "stepwell.shop.closed.order=207");
    assert_eq!(subject::state_key(&id), "order=207");
    assert_eq!(subject::start_request_key(&id, "r.1"), "start.order=207.r=2E1");
    let run = RunId::new("run").unwrap();
    assert_eq!(subject::heartbeat_key(&queue, &run, StepId::Undo(2)), "gpu.run.undo-2");
}
