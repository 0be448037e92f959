//! A stream in memory, as its configuration says: subjects, transform, limits per subject, duplicates.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use stepwell_shared::headers::{CHUNK, PACK};
use stepwell_shared::partition::partition_of_token;

use super::{Acked, Message, Refusal, Stored};

/// A stream in memory.
pub(super) struct MemoryStream {
    pub(super) config: Config,
    pub(super) messages: BTreeMap<u64, Stored>,
    pub(super) last_sequence: u64,
    /// Refuses everything while it is set.
    pub(super) full: bool,
    by_subject: BTreeMap<String, BTreeSet<u64>>,
    ids: HashMap<String, (u64, u64)>,
    /// Messages that go away by themselves.
    expiries: BTreeSet<(u64, u64)>,
}

impl MemoryStream {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            messages: BTreeMap::new(),
            last_sequence: 0,
            full: false,
            by_subject: BTreeMap::new(),
            ids: HashMap::new(),
            expiries: BTreeSet::new(),
        }
    }

    pub(super) fn listens_on(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|filter| matches(filter, subject))
    }

    pub(super) fn is_work_queue(&self) -> bool {
        self.config.retention == RetentionPolicy::WorkQueue
    }

    pub(super) fn publish(&mut self, message: Message, now_ms: u64) -> Result<Acked, Refusal> {
        self.expire(now_ms);
        let subject = match &self.config.subject_transform {
            Some(transform) => transformed(&message.subject, &transform.source, &transform.destination),
            None => message.subject.clone(),
        };
        let last = self.last_of(&subject);
        if message.expected_last.is_some_and(|expected| expected != last) {
            return Err(Refusal::WrongLastSequence);
        }
        if let Some(id) = &message.message_id
            && let Some((sequence, at_ms)) = self.ids.get(id)
            && now_ms < at_ms + self.duplicate_window_ms()
        {
            return Ok(Acked { sequence: *sequence, duplicate: true });
        }
        if self.full {
            return Err(Refusal::Full);
        }
        let header = |name: &str| message.headers.iter().find(|(found, _)| *found == name);
        if header("Nats-Rollup").is_some_and(|(_, value)| value == "sub") {
            self.remove_subject(&subject);
        }
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        if let Some((_, ttl)) = header("Nats-TTL") {
            let seconds: u64 = ttl.trim_end_matches('s').parse().unwrap_or(0);
            self.expiries.insert((now_ms + seconds * 1_000, sequence));
        }
        if let Some(id) = &message.message_id {
            self.ids.insert(id.clone(), (sequence, now_ms));
        }
        // A marker counts as a message, and not as a value; nobody reads its body.
        let marker = header("KV-Operation").is_some();
        let chunk = header(CHUNK).map(|(_, value)| value.clone());
        let pack = header(PACK).map(|(_, value)| value.clone());
        let body = if marker { Vec::new() } else { message.body };
        self.by_subject.entry(subject.clone()).or_default().insert(sequence);
        let stored =
            Stored { sequence, subject: subject.clone(), message_id: message.message_id, chunk, pack, body };
        self.messages.insert(sequence, stored);
        self.trim(&subject);
        Ok(Acked { sequence, duplicate: false })
    }

    pub(super) fn read(&self, filter: &str, from: u64, max: usize) -> Vec<Stored> {
        let wanted = |sequence: &u64| *sequence >= from;
        if !filter.contains(['*', '>']) {
            let Some(sequences) = self.by_subject.get(filter) else { return Vec::new() };
            let found = sequences.iter().filter(|it| wanted(it)).take(max);
            return found.filter_map(|sequence| self.messages.get(sequence).cloned()).collect();
        }
        let found = self.messages.range(from..).filter(|(_, stored)| matches(filter, &stored.subject));
        found.take(max).map(|(_, stored)| stored.clone()).collect()
    }

    /// The sequence of a subject's last message; 0 when there is none.
    pub(super) fn last_of(&self, subject: &str) -> u64 {
        self.by_subject.get(subject).and_then(|sequences| sequences.last()).copied().unwrap_or(0)
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        let Some(stored) = self.messages.remove(&sequence) else { return };
        if let Some(sequences) = self.by_subject.get_mut(&stored.subject) {
            sequences.remove(&sequence);
            if sequences.is_empty() {
                self.by_subject.remove(&stored.subject);
            }
        }
    }

    pub(super) fn remove_subject(&mut self, subject: &str) {
        for sequence in self.by_subject.get(subject).cloned().unwrap_or_default() {
            self.remove(sequence);
        }
    }

    pub(super) fn remove_below(&mut self, sequence: u64) {
        while let Some((&first, _)) = self.messages.first_key_value()
            && first < sequence
        {
            self.remove(first);
        }
    }

    /// Removes what goes away by itself.
    pub(super) fn expire(&mut self, now_ms: u64) {
        while let Some(&(at_ms, sequence)) = self.expiries.first()
            && at_ms <= now_ms
        {
            self.expiries.pop_first();
            self.remove(sequence);
        }
    }

    fn trim(&mut self, subject: &str) {
        let most = self.config.max_messages_per_subject;
        let Ok(most) = usize::try_from(most) else { return };
        while most > 0
            && let Some(sequences) = self.by_subject.get(subject)
            && sequences.len() > most
            && let Some(&first) = sequences.first()
        {
            self.remove(first);
        }
    }

    fn duplicate_window_ms(&self) -> u64 {
        // The server's default when nothing is said.
        let window = self.config.duplicate_window;
        if window.is_zero() { 120_000 } else { u64::try_from(window.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// Whether a subject matches a filter with `*` and `>`.
#[must_use]
pub fn matches(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

/// A subject after a stream's transform: `{{wildcard(n)}}`, `{{partition(count,n)}}` and a trailing `>`.
fn transformed(subject: &str, source: &str, destination: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').collect();
    let wildcards: Vec<&str> = source
        .split('.')
        .zip(&tokens)
        .filter(|(pattern, _)| *pattern == "*")
        .map(|(_, token)| *token)
        .collect();
    let rest = tokens.get(source.split('.').count() - 1..).unwrap_or_default();
    let of = |function: &str, token: &str| -> Option<Vec<usize>> {
        let inner = token.strip_prefix(&format!("{{{{{function}("))?.strip_suffix(")}}")?;
        inner.split(',').map(|number| number.trim().parse().ok()).collect()
    };
    let mut result: Vec<String> = Vec::new();
    for token in destination.split('.') {
        if token == ">" {
            result.extend(rest.iter().map(|token| (*token).to_owned()));
        } else if let Some([index]) = of("wildcard", token).as_deref() {
            result.push(wildcards[index - 1].to_owned());
        } else if let Some([count, index]) = of("partition", token).as_deref() {
            let count = u32::try_from(*count).unwrap_or(1);
            result.push(partition_of_token(wildcards[index - 1], count).to_string());
        } else {
            result.push(token.to_owned());
        }
    }
    result.join(".")
}
