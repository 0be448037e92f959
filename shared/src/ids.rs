//! Newtypes for everything that names something. A value of these types is valid; the check is at the
//! door, in the constructors and in `Deserialize`.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::limits::{MAX_NAME_BYTES, MAX_WORKFLOW_ID_BYTES};

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidId {
    /// Nothing was given.
    #[error("{what} is empty")]
    Empty {
        /// Which kind of id was wanted.
        what: &'static str,
    },
    /// Longer than allowed.
    #[error("{what} has {found} bytes; at most {limit} are allowed")]
    TooLong {
        /// Which kind of id was wanted.
        what: &'static str,
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A character that is not allowed there.
    #[error("{what} {text:?} holds {character:?}; {allowed}")]
    Character {
        /// Which kind of id was wanted.
        what: &'static str,
        /// The text as given.
        text: String,
        /// The first offending character.
        character: char,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Not of the shape it must have.
    #[error("{what} {text:?} is malformed; {expected}")]
    Malformed {
        /// Which kind of id was wanted.
        what: &'static str,
        /// The text as given.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks `text` and takes it.
            ///
            /// # Errors
            /// [`InvalidId`] says what is wrong and what is allowed.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                $check($what, text)?;
                Ok(Self(text.into()))
            }

            /// The text as given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(|text: &str| Self::new(text)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

text_id!(
    /// The user's own name for a workflow: any text of 1 to 200 bytes without control characters.
    WorkflowId, "workflow id", check_free_text
);
text_id!(
    /// A workflow type, activity type, signal, query or queue name: letters, digits, `_` and `-`.
    Name, "name", check_name
);
text_id!(
    /// A namespace: letters, digits, `_` and `-`. It is part of every stream and bucket name.
    Namespace, "namespace", check_name
);
text_id!(
    /// One execution of a workflow id, unique for ever: a UUID in lower-case hyphenated form.
    RunId, "run id", check_name
);
text_id!(
    /// One worker process, unique for ever.
    WorkerId, "worker id", check_name
);
text_id!(
    /// One orchestrator process that takes part in sharing the partitions, unique for ever.
    MemberId, "member id", check_name
);

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

/// A command's place in the order in which workflow code issued its commands, from 1.
pub type Seq = u32;

/// What an activity task is for: the step itself, or the compensation of a step. Written `7` or
/// `undo-7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepId {
    /// The activity that workflow code asked for with this number.
    Action(Seq),
    /// The compensation of that activity.
    Undo(Seq),
}

impl StepId {
    /// The number of the action that this is, or that it undoes.
    #[must_use]
    pub fn seq(self) -> Seq {
        match self {
            Self::Action(seq) | Self::Undo(seq) => seq,
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(seq) => write!(f, "{seq}"),
            Self::Undo(seq) => write!(f, "undo-{seq}"),
        }
    }
}

impl FromStr for StepId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (undo, digits) = match text.strip_prefix("undo-") {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let seq = digits.parse::<Seq>().ok();
        // Only the canonical form: a second spelling would be a second subject for the same step.
        let seq = seq.filter(|seq| *seq > 0 && seq.to_string() == digits);
        let seq = seq.ok_or_else(|| InvalidId::Malformed {
            what: "step id",
            text: text.chars().take(64).collect(),
            expected: "expected a number from 1, or undo- and a number",
        })?;
        Ok(if undo { Self::Undo(seq) } else { Self::Action(seq) })
    }
}

impl Serialize for StepId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(|text: &str| text.parse()))
    }
}

/// Reads an id from text as it stands in the message, without copying it first.
struct TextVisitor<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, InvalidId>> Visitor<'_> for TextVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

fn check_length(what: &'static str, text: &str, limit: usize) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty { what });
    }
    if text.len() > limit {
        return Err(InvalidId::TooLong { what, found: text.len(), limit });
    }
    Ok(())
}

fn check_free_text(what: &'static str, text: &str) -> Result<(), InvalidId> {
    check_length(what, text, MAX_WORKFLOW_ID_BYTES)?;
    match text.chars().find(|character| character.is_control()) {
        None => Ok(()),
        Some(character) => Err(InvalidId::Character {
            what,
            text: text.to_owned(),
            character,
            allowed: "control characters are not allowed",
        }),
    }
}

fn check_name(what: &'static str, text: &str) -> Result<(), InvalidId> {
    check_length(what, text, MAX_NAME_BYTES)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let bad = text.bytes().position(|byte| !allowed(byte));
    // What precedes it is ASCII, so that a character begins there.
    match bad.and_then(|at| text[at..].chars().next()) {
        None => Ok(()),
        Some(character) => Err(InvalidId::Character {
            what,
            text: text.to_owned(),
            character,
            allowed: "use ASCII letters, digits, '_' and '-'",
        }),
    }
}
