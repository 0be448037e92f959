//! The code that a worker has, by name.

use std::collections::HashMap;

use stepwell_shared::ids::{InvalidId, Name};
use stepwell_worker_replay::WorkflowCode;

use crate::activity::code::ActivityCode;
use crate::error::WorkerError;
use crate::metric_definitions::{ActivityMetrics, Metrics};

/// An activity type that the worker has code for.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) code: ActivityCode,
    pub(crate) metrics: ActivityMetrics,
}

/// The code that a worker has.
#[derive(Debug)]
pub(crate) struct Registry {
    workflows: HashMap<Name, WorkflowCode>,
    activities: HashMap<Name, Registered>,
}

impl Registry {
    /// Checks every name.
    pub(crate) fn new(
        workflows: Vec<WorkflowCode>,
        activities: Vec<ActivityCode>,
        metrics: &Metrics,
    ) -> Result<Self, WorkerError> {
        let mut registry = Self { workflows: HashMap::new(), activities: HashMap::new() };
        for code in workflows {
            let name = name("workflow", code.name())?;
            if registry.workflows.insert(name.clone(), code).is_some() {
                return Err(WorkerError::Duplicate { what: "workflows", name: name.to_string() });
            }
        }
        for code in activities {
            let name = name("activity", code.name())?;
            let registered = Registered { metrics: metrics.activity(name.as_str()), code };
            if registry.activities.insert(name.clone(), registered).is_some() {
                return Err(WorkerError::Duplicate { what: "activities", name: name.to_string() });
            }
        }
        Ok(registry)
    }

    pub(crate) fn workflow(&self, workflow_type: &Name) -> Option<&WorkflowCode> {
        self.workflows.get(workflow_type)
    }

    pub(crate) fn activity(&self, activity_type: &Name) -> Option<&Registered> {
        self.activities.get(activity_type)
    }

    /// The workflow types, sorted.
    pub(crate) fn workflows(&self) -> Vec<Name> {
        sorted(self.workflows.keys())
    }

    /// The activity types, sorted.
    pub(crate) fn activities(&self) -> Vec<Name> {
        sorted(self.activities.keys())
    }
}

/// Names for a sentence: `a`, `b` and `c`, or `none`.
pub(crate) fn listed(names: &[Name]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => format!("`{one}`"),
        [rest @ .., last] => {
            let rest: Vec<String> = rest.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", rest.join(", "))
        }
    }
}

fn name(what: &'static str, name: &str) -> Result<Name, WorkerError> {
    Name::new(name).map_err(|reason: InvalidId| WorkerError::Name { what, name: name.to_owned(), reason })
}

fn sorted<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    let mut names: Vec<Name> = names.cloned().collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(name: &str) -> ActivityCode {
        ActivityCode::from_fn(name, |_, input| async { Ok(input) })
    }

    fn registry(names: &[&str]) -> Result<Registry, WorkerError> {
        let metrics = Metrics::new().unwrap();
        Registry::new(Vec::new(), names.iter().map(|name| activity(name)).collect(), &metrics)
    }

    #[test]
    fn finds_by_name_and_lists_in_order() {
        let registry = registry(&["b", "a", "c"]).unwrap();
        assert_eq!(registry.activity(&Name::new("a").unwrap()).unwrap().code.name(), "a");
        assert!(registry.activity(&Name::new("d").unwrap()).is_none());
        assert_eq!(listed(&registry.activities()), "`a`, `b` and `c`");
        assert_eq!(listed(&registry.workflows()), "none");
    }

    #[test]
    fn refuses_what_it_could_not_find_again() {
        let error = registry(&["a", "b", "a"]).unwrap_err().to_string();
        assert!(error.starts_with("two activities are registered under the name \"a\""), "{error}");
        let error = registry(&["a.b"]).unwrap_err().to_string();
        assert!(error.starts_with("cannot register the activity \"a.b\""), "{error}");
    }
}
