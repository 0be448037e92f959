//! Key files: one key a line, `<id> <32 bytes in base64>`; the first one encrypts, all decrypt. Empty lines
//! and lines that begin with `#` are passed over.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key_ring::{KeyRing, Secret};

/// The variable that says where the key file is.
pub const KEYS_FILE_VARIABLE: &str = "STEPWELL_KEYS_FILE";

/// Largest key file, in bytes: the most keys that a ring takes, with room for comments.
pub const MAX_KEYS_FILE_BYTES: usize = 64 * 1024;

/// Why there is no key ring. No text holds anything of a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read the key file {}: {reason}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A line is not a key.
    #[error(
        "line {line} of the keys {reason}; a line is a key's id, a space, and 32 bytes in base64 (`stepwell keys new`)"
    )]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no key.
    #[error("there is no key in it; `stepwell keys new` makes one")]
    Empty,
    /// A key id is not allowed.
    #[error("the key id {id:?} is not 1 to 64 ASCII letters, digits, `.`, `_` and `-`")]
    Id {
        /// The id.
        id: String,
    },
    /// Two keys have the same id.
    #[error("two keys have the id `{id}`; an id stands for one key for ever")]
    Twice {
        /// The id.
        id: String,
    },
    /// There are too many keys.
    #[error(
        "there are more than {} keys; take out those that nothing is encrypted with any more",
        crate::MAX_KEYS
    )]
    TooMany,
    /// The system gives no random numbers.
    #[error("cannot make a key: the system gives no random numbers: {reason}")]
    Random {
        /// What the system said.
        reason: String,
    },
}

impl KeyRing {
    /// The keys in the text of a key file.
    ///
    /// # Errors
    /// [`KeysError`] names the line.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut ring: Option<Self> = None;
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (id, secret) = key(text).map_err(|reason| KeysError::Line { line, reason })?;
            ring = Some(match ring {
                Some(ring) => ring.and(id, &secret)?,
                None => Self::new(id, &secret)?,
            });
        }
        ring.ok_or(KeysError::Empty)
    }

    /// The keys in a file.
    ///
    /// # Errors
    /// [`KeysError`] says what cannot be read, or which line is no key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, KeysError> {
        let path = path.as_ref();
        let failed = |reason: String| KeysError::Read { path: path.to_owned(), reason };
        let limit = MAX_KEYS_FILE_BYTES;
        let mut text = Zeroizing::new(String::with_capacity(limit + 1));
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let read = file.take(limit as u64 + 1).read_to_string(&mut text);
        read.map_err(|error| failed(error.to_string()))?;
        if text.len() > limit {
            return Err(failed(format!("it has more than {limit} bytes")));
        }
        Self::parse(&text)
    }

    /// The keys in the file that `STEPWELL_KEYS_FILE` names; `None` when it is not set, or empty.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_env() -> Result<Option<Self>, KeysError> {
        let path = std::env::var_os(KEYS_FILE_VARIABLE).filter(|path| !path.is_empty());
        path.map(Self::read).transpose()
    }
}

/// A line for a key file, with a key of random bytes.
///
/// # Errors
/// [`KeysError`] when the id is not allowed, or the system gives no random numbers.
pub fn new_key_line(id: &str) -> Result<Zeroizing<String>, KeysError> {
    let mut secret = Secret::default();
    getrandom::fill(secret.as_mut_slice())
        .map_err(|error| KeysError::Random { reason: error.to_string() })?;
    KeyRing::new(id, &secret)?;
    let encoded = Zeroizing::new(STANDARD.encode(secret.as_slice()));
    Ok(Zeroizing::new(format!("{id} {}", encoded.as_str())))
}

fn key(line: &str) -> Result<(&str, Secret), &'static str> {
    let (id, secret) = line.split_once(char::is_whitespace).ok_or("has only one word")?;
    let bytes = STANDARD.decode(secret.trim()).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| "has a key that is not base64")?;
    let mut secret = Secret::default();
    if bytes.len() != secret.len() {
        return Err("has a key that is not 32 bytes long");
    }
    secret.copy_from_slice(&bytes);
    Ok((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_can_be_read_and_no_two_are_the_same() {
        let (one, two) = (new_key_line("one").unwrap(), new_key_line("two").unwrap());
        assert_ne!(one.split(' ').next_back(), two.split(' ').next_back());
        let text = format!("# the newest goes first\n\n  {}  \r\n{}", two.as_str(), one.as_str());
        let ring = KeyRing::parse(&text).unwrap();
        assert_eq!(ring.ids().collect::<Vec<_>>(), ["two", "one"]);
        assert_eq!(format!("{ring:?}"), r#"KeyRing(["two", "one"])"#);
    }

    #[test]
    fn what_is_no_key_file_says_where() {
        let good = new_key_line("k").unwrap();
        let good = good.as_str();
        let many: String =
            (0..=crate::MAX_KEYS).map(|n| good.replace("k ", &format!("k{n} ")) + "\n").collect();
        for (text, why) in [
            ("# nothing\n", "there is no key in it"),
            ("k\n", "line 1 of the keys has only one word"),
            ("\nk ?\n", "line 2 of the keys has a key that is not base64"),
            ("k AAAA\n", "line 1 of the keys has a key that is not 32 bytes long"),
            (&good.replace("k ", "ä "), "the key id \"ä\""),
            (&good.replace("k ", &format!("{} ", "k".repeat(65))), "the key id"),
            (&format!("{good}\n{good}"), "two keys have the id `k`"),
            (&many, "there are more than 64 keys"),
        ] {
            let error = KeyRing::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains(good.split_once(' ').unwrap().1), "{error}");
        }
        let error = KeyRing::read("/nowhere/at/all").unwrap_err().to_string();
        assert!(error.starts_with("cannot read the key file /nowhere/at/all: "), "{error}");
        assert!(new_key_line("a b").is_err());
    }
}
