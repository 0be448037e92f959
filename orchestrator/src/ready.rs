//! Which of the workflows that something has arrived for is worked at next. Those that an event has arrived for and those
//! that are looked at for another reason, mostly because their time has come, take turns; and of the latter no more are
//! worked at than there is room for. So a hundred thousand timers of the same second hold up no start and no report. Each
//! kind is in the order of arrival.

use std::collections::VecDeque;

use stepwell_shared::ids::WorkflowId;

/// Why a workflow is to be worked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// An event from EVENTS.
    Event,
    /// Its time has come.
    Due {
        /// Which time that is.
        due_ms: u64,
    },
    /// A worker has appeared, or something is to be made good.
    Look,
}

/// Workflows that wait to be worked at.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    events: VecDeque<WorkflowId>,
    others: VecDeque<(WorkflowId, Reason)>,
    /// The last one was for an event.
    event_last: bool,
}

impl Ready {
    pub(crate) fn push(&mut self, id: WorkflowId, reason: Reason) {
        match reason {
            Reason::Event => self.events.push_back(id),
            Reason::Due { .. } | Reason::Look => self.others.push_back((id, reason)),
        }
    }

    /// The next one. `room`: whether it may be one for which no event has arrived.
    pub(crate) fn pop(&mut self, room: bool) -> Option<(WorkflowId, Reason)> {
        let other =
            if room && (self.event_last || self.events.is_empty()) { self.others.pop_front() } else { None };
        let next = other.or_else(|| Some((self.events.pop_front()?, Reason::Event)));
        self.event_last = matches!(next, Some((_, Reason::Event)));
        next
    }

    /// Whether there is one for which no event has arrived.
    pub(crate) fn others(&self) -> bool {
        !self.others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ready: &mut Ready, room: bool) -> Vec<String> {
        std::iter::from_fn(|| ready.pop(room)).map(|(id, _)| id.to_string()).collect()
    }

    fn push(ready: &mut Ready, ids: &[&str], reason: Reason) {
        for id in ids {
            ready.push(WorkflowId::new(*id).unwrap(), reason);
        }
    }

    #[test]
    fn events_and_others_take_turns_and_each_kind_keeps_its_order() {
        let mut ready = Ready::default();
        push(&mut ready, &["w0", "w1"], Reason::Due { due_ms: 7 });
        push(&mut ready, &["l0", "l1"], Reason::Look);
        push(&mut ready, &["e0", "e1"], Reason::Event);
        assert_eq!(all(&mut ready, true), ["e0", "w0", "e1", "w1", "l0", "l1"]);
    }

    #[test]
    fn one_kind_alone_does_not_wait_for_the_other() {
        let mut ready = Ready::default();
        push(&mut ready, &["e0", "e1", "e2"], Reason::Event);
        assert_eq!(all(&mut ready, true), ["e0", "e1", "e2"]);
        push(&mut ready, &["w0"], Reason::Due { due_ms: 7 });
        assert_eq!(ready.pop(true), Some((WorkflowId::new("w0").unwrap(), Reason::Due { due_ms: 7 })));
        assert_eq!(ready.pop(true), None);
    }

    #[test]
    fn without_room_only_events_are_next() {
        let mut ready = Ready::default();
        push(&mut ready, &["w0"], Reason::Look);
        push(&mut ready, &["e0", "e1"], Reason::Event);
        assert_eq!(all(&mut ready, false), ["e0", "e1"]);
        assert!(ready.others());
        assert_eq!(all(&mut ready, true), ["w0"]);
        assert!(!ready.others());
    }
}
