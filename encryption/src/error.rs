//! Why a payload could not be sealed or opened. No text here holds anything of the payload.

use thiserror::Error;

/// Why a payload could not be sealed or opened. `what` says which one it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// It is encrypted, and this process was given no keys at all.
    #[error(
        "{what} is encrypted with key `{key}`, and this process has no keys; start it with the key file that has it \
         (STEPWELL_KEYS_FILE)"
    )]
    NoKeys {
        /// Which payload.
        what: String,
        /// The key's id.
        key: String,
    },
    /// It is encrypted with a key that is not there.
    #[error("{what} is encrypted with key `{key}`, which this process does not have; add it to the key file")]
    UnknownKey {
        /// Which payload.
        what: String,
        /// The key's id.
        key: String,
    },
    /// It is encrypted with an algorithm that is not known.
    #[error(
        "{what} is encrypted with `{algorithm}`, which this process does not know; a newer version wrote it"
    )]
    UnknownAlgorithm {
        /// Which payload.
        what: String,
        /// The algorithm's name.
        algorithm: String,
    },
    /// The data were changed, moved from elsewhere, or sealed with another key of the same id.
    #[error(
        "{what} was not encrypted for this place with key `{key}`: it was changed or moved here, or the key file \
         has another key of that id"
    )]
    NotAuthentic {
        /// Which payload.
        what: String,
        /// The key's id.
        key: String,
    },
    /// The envelope or what was in it has not the form that it must have.
    #[error("{what} is encrypted, but cannot be read: {reason}")]
    Malformed {
        /// Which payload.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// It is not encrypted, and this process takes nothing that is not.
    #[error("{what} is not encrypted, and this process refuses what is not; whoever sent it needs the keys")]
    Plain {
        /// Which payload.
        what: String,
    },
    /// It is larger than what is stored.
    #[error(
        "{what} has {bytes} bytes of JSON, which are {} bytes when encrypted; at most {most} are stored. Keep large \
         data in an object store and pass its key", .sealed.map_or_else(|| "more".to_owned(), |sealed| sealed.to_string())
    )]
    TooLarge {
        /// Which payload.
        what: String,
        /// Its size.
        bytes: usize,
        /// Its size when encrypted, if it was worth encrypting.
        sealed: Option<usize>,
        /// The limit.
        most: usize,
    },
    /// The cipher did not do its work.
    #[error("{what} could not be encrypted or decrypted: {reason}")]
    Cipher {
        /// Which payload.
        what: String,
        /// What the cipher said.
        reason: String,
    },
}

impl PayloadError {
    /// Whether the same may work a moment later in this process.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Cipher { .. } => true,
            Self::NoKeys { .. }
            | Self::UnknownKey { .. }
            | Self::UnknownAlgorithm { .. }
            | Self::NotAuthentic { .. }
            | Self::Malformed { .. }
            | Self::Plain { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}
