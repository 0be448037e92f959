//! Reports of a worker that go together, as its `report_packs` does: those of one partition in one message, no two of one
//! workflow.

use std::collections::BTreeMap;

use stepwell_shared::headers::PACK;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::limits::MAX_PACK;
use stepwell_shared::pack::PackIndex;
use stepwell_shared::packed_report::join;
use stepwell_shared::subject::{self, EventAddress, partition, report_end};
use stepwell_shared::task::ActivityTask;

use super::world::World;
use crate::backend::Message;

/// The report of an attempt, and the number under which its worker has it.
pub(crate) struct Pending<'a> {
    pub(crate) number: u64,
    pub(crate) task: &'a ActivityTask,
    pub(crate) report: &'a Message,
}

/// Which reports go in one message; one that is alone goes as it is.
pub(crate) fn together<'a>(world: &World, pending: Vec<Pending<'a>>) -> Vec<Vec<Pending<'a>>> {
    let mut packs: BTreeMap<(u32, usize), Vec<Pending<'a>>> = BTreeMap::new();
    let mut used: BTreeMap<&WorkflowId, usize> = BTreeMap::new();
    for it in pending {
        let id = &it.task.workflow_id;
        let partition = partition(id, world.partitions);
        let number = used.entry(id).or_default();
        while packs.get(&(partition, *number)).is_some_and(|pack| pack.len() == MAX_PACK) {
            *number += 1;
        }
        packs.entry((partition, *number)).or_default().push(it);
        *number += 1;
    }
    packs.into_values().collect()
}

/// The message that such reports are.
pub(crate) fn message(world: &World, pack: &[Pending]) -> Message {
    let [first, _, ..] = pack else { return pack[0].report.clone() };
    let (mut index, mut body) = (PackIndex::default(), Vec::new());
    for (place, Pending { task, report, .. }) in pack.iter().enumerate() {
        let joined = join(&report_end(&task.workflow_id, &task.run_id, task.step), &report.body);
        index.push(place, joined.len());
        body.extend(joined);
    }
    let subject = subject::event(&world.namespace, &first.task.workflow_id, &EventAddress::Reports);
    Message::new(subject, body).with_header(PACK, index.header())
}
