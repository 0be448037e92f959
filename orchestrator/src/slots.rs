//! The runs in memory: who is being worked on, what waits for each, and which are dropped first when there
//! are too many.

use std::collections::{BTreeMap, HashMap, VecDeque};

use stepwell_shared::ids::WorkflowId;

use crate::drive::{Delivery, Held};

/// The runs in memory.
#[derive(Default)]
pub(crate) struct Slots {
    slots: HashMap<WorkflowId, Slot>,
    /// Idle runs by when they were used last.
    idle: BTreeMap<u64, WorkflowId>,
    uses: u64,
}

struct Slot {
    mailbox: VecDeque<Delivery>,
    state: State,
}

enum State {
    /// A drive has it.
    Active,
    /// Somebody asked for a drive that has not begun.
    Ready(Option<Box<Held>>),
    /// In memory, with nothing to do.
    Idle(Box<Held>, u64),
}

impl Slots {
    /// Puts a delivery into the workflow's mailbox. True when a drive must be begun for it.
    pub(crate) fn deliver(&mut self, id: &WorkflowId, delivery: Delivery) -> bool {
        match self.slots.get_mut(id) {
            Some(slot) => {
                slot.mailbox.push_back(delivery);
                match std::mem::replace(&mut slot.state, State::Active) {
                    State::Active => false,
                    State::Ready(held) => {
                        slot.state = State::Ready(held);
                        false
                    }
                    State::Idle(held, use_number) => {
                        slot.state = State::Ready(Some(held));
                        self.idle.remove(&use_number);
                        true
                    }
                }
            }
            None => {
                let slot = Slot { mailbox: VecDeque::from([delivery]), state: State::Ready(None) };
                self.slots.insert(id.clone(), slot);
                true
            }
        }
    }

    /// Hands a ready workflow with its mail to a drive.
    pub(crate) fn begin(&mut self, id: &WorkflowId) -> Option<(Option<Box<Held>>, VecDeque<Delivery>)> {
        let slot = self.slots.get_mut(id)?;
        match std::mem::replace(&mut slot.state, State::Active) {
            State::Ready(held) => Some((held, std::mem::take(&mut slot.mailbox))),
            State::Active => None,
            State::Idle(held, use_number) => {
                slot.state = State::Idle(held, use_number);
                None
            }
        }
    }

    /// Takes a workflow back from its drive, and keeps no more than `room` with nothing to do. True when more
    /// mail came meanwhile and a drive must begin.
    pub(crate) fn end(
        &mut self,
        id: &WorkflowId,
        held: Option<Box<Held>>,
        room: usize,
        evicted: &mut u64,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(id) else { return false };
        if !slot.mailbox.is_empty() {
            slot.state = State::Ready(held);
            return true;
        }
        match held.filter(|held| !held.workflow.idle()) {
            // A closed run is not kept: nothing but late arrivals can come for it.
            None => {
                self.slots.remove(id);
            }
            Some(held) => {
                self.uses += 1;
                slot.state = State::Idle(held, self.uses);
                self.idle.insert(self.uses, id.clone());
            }
        }
        while self.idle.len() > room
            && let Some((_, id)) = self.idle.pop_first()
        {
            self.slots.remove(&id);
            *evicted += 1;
        }
        false
    }

    /// A workflow that is in memory with nothing to do.
    pub(crate) fn peek(&self, id: &WorkflowId) -> Option<&Held> {
        match &self.slots.get(id)?.state {
            State::Idle(held, _) => Some(held),
            State::Active | State::Ready(_) => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
