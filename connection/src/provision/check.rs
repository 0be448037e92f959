//! What a stream must have in common with the one that we would create. Pure comparison.

use std::fmt;

use async_nats::jetstream::stream::{Config, PersistenceMode, SubjectTransform};

use crate::connection::SHARDS_METADATA;

/// One setting of a stream that is not what we would choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The setting.
    pub setting: &'static str,
    /// What we would choose.
    pub wanted: String,
    /// What it is.
    pub found: String,
    /// Whether Stepwell cannot work, or would lose data, with it as it is.
    pub fatal: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, expected {}", self.setting, self.found, self.wanted)
    }
}

/// Every setting that matters and is different. Limits may be chosen freely by an operator and are not
/// compared.
#[must_use]
pub fn differences(wanted: &Config, found: &Config) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut compare = |setting, wanted: String, found: String, fatal| {
        if wanted != found {
            all.push(Difference { setting, wanted, found, fatal });
        }
    };
    compare("subjects", wanted.subjects.join(","), found.subjects.join(","), true);
    let transform = |config: &Config| config.subject_transform.as_ref().map_or("none".into(), arrow);
    compare("subject_transform", transform(wanted), transform(found), true);
    compare("retention", debug(&wanted.retention), debug(&found.retention), true);
    compare("discard", debug(&wanted.discard), debug(&found.discard), true);
    compare("storage", debug(&wanted.storage), debug(&found.storage), true);
    compare("persist_mode", "default".into(), persist_mode(found), true);
    let per_subject = |config: &Config| config.max_messages_per_subject.max(-1).to_string();
    compare(
        "max_msgs_per_subject",
        none_of_zero(per_subject(wanted)),
        none_of_zero(per_subject(found)),
        true,
    );
    compare("max_age", debug(&wanted.max_age), debug(&found.max_age), !found.max_age.is_zero());
    let shards = |config: &Config| config.metadata.get(SHARDS_METADATA).map_or("none".into(), Clone::clone);
    compare(SHARDS_METADATA, shards(wanted), shards(found), true);
    compare("sealed", "false".into(), found.sealed.to_string(), true);
    compare("no_ack", "false".into(), found.no_ack.to_string(), true);
    // These must be on where we want them; on where we do not need them they do no harm.
    let mut need = |setting, wanted: bool, found: bool, fatal| {
        if wanted && !found {
            compare(setting, "true".into(), "false".into(), fatal);
        }
    };
    need("allow_direct", wanted.allow_direct, found.allow_direct, true);
    need("allow_msg_ttl", wanted.allow_message_ttl, found.allow_message_ttl, true);
    need("allow_rollup_hdrs", wanted.allow_rollup, found.allow_rollup, true);
    if found.duplicate_window < wanted.duplicate_window {
        compare("duplicate_window", debug(&wanted.duplicate_window), debug(&found.duplicate_window), false);
    }
    compare("num_replicas", wanted.num_replicas.to_string(), found.num_replicas.to_string(), false);
    all
}

fn arrow(transform: &SubjectTransform) -> String {
    format!("{} -> {}", transform.source, transform.destination)
}

fn debug(value: &impl fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn persist_mode(config: &Config) -> String {
    match config.persist_mode {
        None | Some(PersistenceMode::Default) => "default".into(),
        Some(PersistenceMode::Async) => "async".into(),
    }
}

/// The server writes "no limit" as -1 and clients also as 0.
fn none_of_zero(number: String) -> String {
    if number == "0" { "-1".into() } else { number }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream::stream::{DiscardPolicy, RetentionPolicy};

    use super::*;

    fn stream() -> Config {
        Config {
            name: "S".into(),
            subjects: vec!["a.>".into()],
            discard: DiscardPolicy::New,
            allow_direct: true,
            num_replicas: 1,
            ..Config::default()
        }
    }

    fn of(change: fn(&mut Config)) -> Vec<Difference> {
        let mut found = stream();
        change(&mut found);
        differences(&stream(), &found)
    }

    fn only(differences: &[Difference]) -> (&'static str, bool) {
        let [one] = differences else { panic!("{differences:?}") };
        (one.setting, one.fatal)
    }

    #[test]
    fn limits_are_the_operators_business() {
        assert_eq!(of(|found| found.max_bytes = 1), []);
        assert_eq!(of(|found| found.max_messages_per_subject = -1), []);
    }

    #[test]
    fn names_what_would_lose_data() {
        assert_eq!(
            only(&of(|found| found.persist_mode = Some(PersistenceMode::Async))),
            ("persist_mode", true)
        );
        assert_eq!(only(&of(|found| found.retention = RetentionPolicy::WorkQueue)), ("retention", true));
        assert_eq!(only(&of(|found| found.discard = DiscardPolicy::Old)), ("discard", true));
        assert_eq!(only(&of(|found| found.max_age = Duration::from_secs(1))), ("max_age", true));
        assert_eq!(only(&of(|found| found.max_messages_per_subject = 5)), ("max_msgs_per_subject", true));
        assert_eq!(only(&of(|found| found.allow_direct = false)), ("allow_direct", true));
        assert_eq!(only(&of(|found| found.subjects = vec!["b".into()])), ("subjects", true));
    }

    #[test]
    fn replicas_are_reported_and_not_refused() {
        assert_eq!(only(&of(|found| found.num_replicas = 3)), ("num_replicas", false));
    }

    #[test]
    fn a_difference_says_both_sides() {
        let differences = of(|found| found.discard = DiscardPolicy::Old);
        assert_eq!(differences[0].to_string(), "discard is old, expected new");
    }
}
