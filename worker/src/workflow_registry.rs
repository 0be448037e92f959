//! The workflows that a worker has code for, by name.

use std::collections::BTreeMap;

use stepwell_shared::ids::Name;
use stepwell_worker_replay::WorkflowCode;

/// The workflows that a worker has code for.
#[derive(Default, Clone, Debug)]
pub(crate) struct WorkflowRegistry {
    workflows: BTreeMap<Name, WorkflowCode>,
    faults: Vec<String>,
}

impl WorkflowRegistry {
    pub(crate) fn add(&mut self, code: WorkflowCode) {
        match Name::new(code.name()) {
            Err(error) => self.faults.push(format!("workflow {:?}: {error}", code.name())),
            Ok(name) => {
                if self.workflows.insert(name.clone(), code).is_some() {
                    self.faults.push(format!("two workflows are named `{name}`; rename one with name = \"…\""));
                }
            }
        }
    }

    pub(crate) fn get(&self, name: &Name) -> Option<&WorkflowCode> {
        self.workflows.get(name)
    }

    pub(crate) fn names(&self) -> Vec<Name> {
        self.workflows.keys().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.workflows.is_empty()
    }

    /// What was wrong with what was added; reported when the worker starts.
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }
}
