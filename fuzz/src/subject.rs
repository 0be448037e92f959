//! Subjects of stored events and keys of timers: what is read is written as it was, so that there is no
//! second subject for the same thing.

use stepwell_shared::ids::{Namespace, WorkflowId};
use stepwell_shared::limits::MAX_WORKFLOW_ID_BYTES;
use stepwell_shared::subject::{
    escape, event, history, parse_stored_event, parse_timer_key, partition, timer_key,
};

const PARTITIONS: u32 = 16;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse_stored_event(text) {
        Ok((id, address)) => {
            // What a client publishes differs from what is stored by one token and the partition.
            let published = event(&Namespace::default(), &id, &address);
            let (_, published) = published.split_once(".workflow.").expect("a subject of an event");
            let mut stored = text.splitn(5, '.');
            assert_eq!(stored.nth(4), Some(published));
            keys(&id);
        }
        Err(error) => {
            assert_eq!(error.subject, text);
            assert!(error.reason.len() <= 4 * text.len() + 512, "{}", error.reason);
        }
    }
    if let Some((_, id)) = parse_timer_key(text) {
        let (_, token) = text.split_once('.').expect("it was read as a key");
        assert_eq!(token, escape(id.as_str()));
        keys(&id);
    }
    if let Ok(id) = WorkflowId::new(text) {
        keys(&id);
    }
}

fn keys(id: &WorkflowId) {
    let key = timer_key(id, PARTITIONS);
    assert_eq!(parse_timer_key(&key), Some((partition(id, PARTITIONS), id.clone())));
    assert!(partition(id, PARTITIONS) < PARTITIONS);
    assert_eq!(partition(id, 0), 0);
    let subject = history(&Namespace::default(), id, PARTITIONS);
    assert!(subject.len() <= 3 * MAX_WORKFLOW_ID_BYTES + 64);
    assert!(subject.split('.').all(|token| !token.is_empty()));
}
