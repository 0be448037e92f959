//! Records as they lie on the server.

use stepwell_orchestrator_core::{IllegalRecord, Workflow};
use stepwell_shared::encoding::{Assembler, ChunkPlace, decode};
use stepwell_shared::history::Record;
use stepwell_shared::ids::WorkflowId;

use crate::backend::Stored;

/// One record with its place.
#[derive(Debug, Clone)]
pub(crate) struct StoredRecord {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    pub(crate) record: Record,
}

/// A workflow with its place on the server.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) workflow: Workflow,
    pub(crate) last_sequence: u64,
    pub(crate) first_sequence: u64,
    pub(crate) last_record: Option<Record>,
    pub(crate) index_before: u64,
}

/// The records of a subject: chains joined, those that are not complete left out.
pub(crate) fn records(messages: &[Stored]) -> Vec<StoredRecord> {
    let mut assembler = Assembler::default();
    let mut first_sequence = 0;
    let mut found = Vec::new();
    for message in messages {
        let place = message.chunk.as_deref().and_then(ChunkPlace::parse);
        if place.is_none_or(|place| place.index == 1) {
            first_sequence = message.sequence;
        }
        if let Some(body) = assembler.push(place, &message.body) {
            let record = decode::<Record>(&body).expect("the orchestrator writes records");
            found.push(StoredRecord { first_sequence, last_sequence: message.sequence, record });
        }
    }
    found
}

/// Rebuilds a workflow, as the orchestrator does.
pub(crate) fn load(
    id: &WorkflowId,
    messages: &[Stored],
    last_sequence: u64,
    before: u64,
) -> Result<Loaded, IllegalRecord> {
    let mut loaded = Loaded {
        workflow: Workflow::new(id.clone()),
        last_sequence,
        first_sequence: 0,
        last_record: None,
        index_before: 0,
    };
    for stored in records(messages) {
        loaded.workflow.apply(&stored.record)?;
        if stored.record.index == 1 {
            loaded.first_sequence = stored.first_sequence;
            loaded.index_before = 0;
        }
        if stored.last_sequence <= before {
            loaded.index_before = stored.record.index;
        }
        loaded.last_record = Some(stored.record);
    }
    Ok(loaded)
}
