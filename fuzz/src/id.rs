//! Ids and names: one spelling each, in JSON, as text and as a token of a subject.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::encoding::{ChunkPlace, decode_unversioned, encode};
use stepwell_shared::ids::{Name, Namespace, RunId, StepId, WorkerId, WorkflowId};
use stepwell_shared::limits::{MAX_CHUNKS, MAX_NAME_BYTES, MAX_WORKFLOW_ID_BYTES};
use stepwell_shared::subject::{escape, unescape};

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    escaped(text);
    if let Some(id) = one_spelling::<WorkflowId>(text) {
        assert!((1..=MAX_WORKFLOW_ID_BYTES).contains(&text.len()) && !text.contains(char::is_control));
        assert_eq!(id.as_str(), text);
    }
    let names = [
        one_spelling::<Name>(text).is_some(),
        one_spelling::<Namespace>(text).is_some(),
        one_spelling::<RunId>(text).is_some(),
        one_spelling::<WorkerId>(text).is_some(),
    ];
    assert!(names.iter().all(|valid| *valid == names[0]), "the rules for names differ: {names:?}");
    if names[0] {
        assert!((1..=MAX_NAME_BYTES).contains(&text.len()));
        assert_eq!(escape(text), text, "a name is a token as it is");
    }
    if let Some(step) = one_spelling::<StepId>(text) {
        assert!(step.seq() > 0);
    }
    if let Some(place) = ChunkPlace::parse(text) {
        assert!(place.index >= 1 && place.index <= place.count && place.count <= MAX_CHUNKS);
        assert_eq!(ChunkPlace::parse(&place.header()), Some(place));
    }
}

fn escaped(text: &str) {
    let token = escape(text);
    assert_eq!(unescape(&token).as_deref(), Some(text));
    assert!(token.len() <= 3 * text.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/=".contains(&byte);
    assert!(token.bytes().all(plain), "{token:?} is no token");
    if let Some(id) = unescape(text) {
        assert_eq!(escape(&id), text, "a second spelling of {id:?}");
    }
}

/// Reads the text as it stands and as JSON: both or neither, and what is read is written as it was.
fn one_spelling<T>(text: &str) -> Option<T>
where
    T: FromStr + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let read: Option<T> = text.parse().ok();
    let json = encode(&text);
    let from_json: Option<T> = decode_unversioned(&json).ok();
    assert_eq!(read, from_json);
    let read = read?;
    assert_eq!(read.to_string(), text);
    assert_eq!(encode(&read), json);
    Some(read)
}
