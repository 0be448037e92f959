//! A JSON value that is carried, not read: encoded once by the user's code and copied as bytes after
//! that.
//!
//! It serialises as the JSON it holds. Because of how serde buffers, a [`Payload`] must not sit inside
//! an internally tagged, untagged or flattened type; every enum of this crate is externally tagged.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value, as text, cheap to clone.
#[derive(Clone)]
pub struct Payload(Arc<Box<RawValue>>);

impl Payload {
    /// Encodes `value`.
    ///
    /// # Errors
    /// When `value` has no JSON form, such as a map with keys that are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self(Arc::new(serde_json::value::to_raw_value(value)?)))
    }

    /// Decodes into `T`.
    ///
    /// # Errors
    /// When the JSON is not a `T`; the error names the line and column.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }

    /// Takes JSON text as it is.
    ///
    /// # Errors
    /// When `text` is not exactly one JSON value.
    pub fn from_json(text: String) -> Result<Self, serde_json::Error> {
        Ok(Self(Arc::new(RawValue::from_string(text)?)))
    }

    /// JSON `null`: the input of what takes no input.
    #[must_use]
    pub fn null() -> Self {
        Self(Arc::new(RawValue::NULL.to_owned()))
    }

    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.get().len()
    }
}

/// Reads an optional field that is there: JSON `null` is a value like any other, and only a field that is
/// missing is `None`. For `#[serde(default, deserialize_with = "…")]`.
///
/// # Errors
/// When the value is not a `T`.
pub fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl Default for Payload {
    fn default() -> Self {
        Self::null()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl Eq for Payload {}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.json())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Arc::new(Box::deserialize(deserializer)?)))
    }
}
