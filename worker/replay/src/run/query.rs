//! The queries that the code answers, and the rule that answering changes nothing.

use std::sync::{Arc, Mutex};

use stepwell_shared::payload::Payload;

use super::state::State;

/// Answers one query; the text says why it cannot.
pub(crate) type Handler = Arc<Mutex<dyn FnMut(&Payload) -> Result<Payload, String> + Send>>;

impl State {
    /// Begins a query. Ends with [`State::end_query`].
    pub(crate) fn begin_query(&mut self) {
        self.query_violation = None;
    }

    /// What the handler tried to do that it may not.
    pub(crate) fn end_query(&mut self) -> Option<&'static str> {
        self.query_violation.take()
    }

    pub(super) fn violate_query(&mut self, what: &'static str) {
        self.query_violation.get_or_insert(what);
    }

    /// The names that can be asked for, for an error text.
    pub(crate) fn query_names(&self) -> String {
        let names: Vec<String> = self.queries.keys().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }
}
