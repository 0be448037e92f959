//! From types to bytes and back: the version check at the door, and bodies larger than one message as
//! chains of chunks.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error_code::ErrorCode;
use crate::limits::MAX_CHUNKS;

/// The version of every body that this build writes. Readers accept it and, when there are older ones,
/// convert those here, at the door. Rules for change: `docs/wire-format.md`.
pub const VERSION: u32 = 1;

/// Room for a body with a small payload, so that most are written without growing their buffer.
const USUAL_BODY_BYTES: usize = 1_024;

/// How every body begins that this build writes. A body that says its version again further on does not
/// decode: a field may stand in it once.
const USUAL_BEGINNING: &[u8] = b"{\"v\":1,";

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// It is not the JSON that was expected there.
    #[error("cannot read the body: {0}")]
    Json(String),
    /// Its version is not known here.
    #[error("cannot read a body of version {found}; this build reads version {VERSION}")]
    Version {
        /// The version found.
        found: u64,
    },
}

impl DecodeError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Json(_) => ErrorCode::MalformedBody,
            Self::Version { .. } => ErrorCode::UnknownVersion,
        }
    }
}

/// Encodes a body of ours. Our own types always have a JSON form.
///
/// # Panics
/// Never: no type of this crate holds a map with keys that are not strings, or fails to serialise.
#[must_use]
pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BODY_BYTES);
    serde_json::to_writer(&mut bytes, body).expect("the wire types have a JSON form");
    bytes
}

/// Decodes a body with a version in it.
///
/// # Errors
/// [`DecodeError`] says what was found and where.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    if body.starts_with(USUAL_BEGINNING)
        && let Ok(decoded) = serde_json::from_slice(body)
    {
        return Ok(decoded);
    }
    // The version goes first: a body of another version may well not look like a `T`.
    match serde_json::from_slice::<VersionOnly>(body) {
        Ok(VersionOnly { v: Some(v) }) if v == u64::from(VERSION) => {}
        Ok(VersionOnly { v: Some(found) }) => return Err(DecodeError::Version { found }),
        Ok(VersionOnly { v: None }) => return Err(DecodeError::Json("missing field `v`".into())),
        Err(error) => return Err(DecodeError::Json(error.to_string())),
    }
    serde_json::from_slice(body).map_err(|error| DecodeError::Json(error.to_string()))
}

/// Decodes a body without a version, such as a request of the API. An empty body reads as `{}`.
///
/// # Errors
/// [`DecodeError::Json`] says what was found and where.
pub fn decode_unversioned<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| DecodeError::Json(error.to_string()))
}

/// The ranges of the chunks into which a body of `len` bytes is cut: one when it fits into `limit`.
#[must_use]
pub fn chunk_ranges(len: usize, limit: usize) -> Vec<Range<usize>> {
    let limit = limit.max(1);
    let count = len.div_ceil(limit).max(1);
    (0..count).map(|index| index * limit..((index + 1) * limit).min(len)).collect()
}

/// A chunk's place in its chain, as the `Stepwell-Chunk` header says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlace {
    /// From 1.
    pub index: usize,
    /// How many the chain has.
    pub count: usize,
}

impl ChunkPlace {
    /// The header's value.
    #[must_use]
    pub fn header(self) -> String {
        format!("{}/{}", self.index, self.count)
    }

    /// Reads the header's value; `None` when it makes no sense.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (index, count) = text.split_once('/')?;
        let place = Self { index: index.parse().ok()?, count: count.parse().ok()? };
        (place.index >= 1 && place.index <= place.count && place.count <= MAX_CHUNKS).then_some(place)
    }
}

/// Puts chunks together again, in the order in which they were stored. A chain that is not complete is
/// dropped when another body begins: its writer died, and what it wanted to say was never committed.
#[derive(Debug, Default)]
pub struct Assembler {
    body: Vec<u8>,
    next: usize,
    count: usize,
}

impl Assembler {
    /// Takes the next message; returns the body when it is complete.
    ///
    /// `place` is `None` for a body in one message.
    pub fn push(&mut self, place: Option<ChunkPlace>, bytes: &[u8]) -> Option<Vec<u8>> {
        let Some(place) = place else {
            self.clear();
            return Some(bytes.to_vec());
        };
        if place.index == 1 {
            self.clear();
            self.count = place.count;
            self.next = 1;
        }
        if place.index != self.next || place.count != self.count {
            self.clear();
            return None;
        }
        self.body.extend_from_slice(bytes);
        self.next += 1;
        if place.index < place.count {
            return None;
        }
        let body = std::mem::take(&mut self.body);
        self.clear();
        Some(body)
    }

    fn clear(&mut self) {
        self.body.clear();
        self.next = 0;
        self.count = 0;
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    v: Option<u64>,
}
