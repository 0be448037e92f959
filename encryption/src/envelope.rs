//! How an encrypted payload looks: a JSON object with one field, in the place of the payload, or as text
//! within a text.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stepwell_shared::payload::Payload;

/// The only field of an envelope.
const FIELD: &str = "\"$stepwell.encrypted\"";

/// Longest key id and algorithm name, in bytes: it is repeated with every payload.
pub const MAX_KEY_ID_BYTES: usize = 64;

/// Longest nonce, in bytes; the longest in use has 24.
pub const MAX_NONCE_BYTES: usize = 64;

/// Ciphertext, and what is needed to open it with the right key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// How it is encrypted, with a version; at most 64 bytes.
    pub algorithm: Cow<'static, str>,
    /// The id of the key; at most 64 bytes. Visible to everybody.
    pub key: String,
    /// The nonce; at most 64 bytes.
    pub nonce: Vec<u8>,
    /// Ciphertext and tag.
    pub data: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(rename = "$stepwell.encrypted", borrow)]
    sealed: Wire<'a>,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Cow<'a, str>,
    #[serde(borrow)]
    nonce: Cow<'a, str>,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// Whether a payload is an envelope. Looks at its first bytes only.
#[must_use]
pub fn is_sealed(payload: &Payload) -> bool {
    let inside = payload.json().trim_start().strip_prefix('{');
    inside.is_some_and(|inside| inside.trim_start().starts_with(FIELD))
}

/// The id of the key under which a payload is encrypted; `None` when it is not, or cannot be read.
#[must_use]
pub fn sealed_under(payload: &Payload) -> Option<String> {
    if !is_sealed(payload) {
        return None;
    }
    serde_json::from_str::<Envelope<'_>>(payload.json()).ok().map(|it| it.sealed.kid.into_owned())
}

/// A text with every envelope in it replaced by a word about it, for people without the key.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    let Some(first) = find(text) else { return Cow::Borrowed(text) };
    let mut shown = text[..first].to_owned();
    let mut rest = &text[first..];
    loop {
        // One that cannot be read has no known end.
        let Some((sealed, length)) = parse(rest) else {
            shown += "(encrypted, incomplete)";
            return Cow::Owned(shown);
        };
        shown += &format!("(encrypted with key {})", sealed.kid);
        rest = &rest[length..];
        let Some(next) = find(rest) else { break };
        shown += &rest[..next];
        rest = &rest[next..];
    }
    shown += rest;
    Cow::Owned(shown)
}

/// Where the first envelope in a text begins.
pub(crate) fn find(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find(FIELD) {
        let before = text[..from + at].trim_end();
        if before.ends_with('{') {
            return Some(before.len() - 1);
        }
        from += at + FIELD.len();
    }
    None
}

/// The envelope with which a text begins, and its length.
fn parse(text: &str) -> Option<(Wire<'_>, usize)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Envelope<'_>>();
    let envelope = values.next()?.ok()?;
    Some((envelope.sealed, values.byte_offset()))
}

/// The envelope with which a text begins, decoded, and its length. The text says what is wrong.
pub(crate) fn read(text: &str) -> Result<(Sealed, usize), String> {
    let (wire, length) = parse(text).ok_or("its envelope is not complete")?;
    Ok((wire.decode()?, length))
}

impl Wire<'_> {
    fn decode(&self) -> Result<Sealed, String> {
        let bytes = |what: &str, text: &str| {
            STANDARD.decode(text).map_err(|error| format!("its {what} is not base64: {error}"))
        };
        let sealed = Sealed {
            algorithm: Cow::Owned(self.alg.clone().into_owned()),
            key: self.kid.clone().into_owned(),
            nonce: bytes("nonce", &self.nonce)?,
            data: bytes("data", &self.data)?,
        };
        sealed.check()?;
        Ok(sealed)
    }
}

impl Sealed {
    /// Whether its parts are within their bounds; the text says which one is not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let lengths = [
            ("algorithm's name", self.algorithm.len(), MAX_KEY_ID_BYTES),
            ("key id", self.key.len(), MAX_KEY_ID_BYTES),
            ("nonce", self.nonce.len(), MAX_NONCE_BYTES),
        ];
        for (what, found, most) in lengths {
            if found == 0 || found > most {
                return Err(format!("its {what} has {found} bytes; it must have 1 to {most}"));
            }
        }
        Ok(())
    }

    /// The envelope.
    pub(crate) fn payload(&self) -> Result<Payload, serde_json::Error> {
        Payload::encode(&Envelope {
            sealed: Wire {
                alg: Cow::Borrowed(&self.algorithm),
                kid: Cow::Borrowed(&self.key),
                nonce: STANDARD.encode(&self.nonce).into(),
                data: STANDARD.encode(&self.data).into(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Sealed {
        Sealed { algorithm: "a/1".into(), key: "k1".into(), nonce: vec![1; 24], data: vec![2; 20] }
    }

    #[test]
    fn an_envelope_is_recognised_and_read_again() {
        let payload = sealed().payload().unwrap();
        assert!(payload.json().starts_with(r#"{"$stepwell.encrypted":{"alg":"a/1","kid":"k1","nonce":""#));
        assert!(is_sealed(&payload));
        assert_eq!(sealed_under(&payload).as_deref(), Some("k1"));
        assert_eq!(read(payload.json()), Ok((sealed(), payload.size())));
        let spaced = payload.json().replacen('{', "{ \n", 1);
        assert!(is_sealed(&Payload::from_json(spaced).unwrap()));
        for plain in ["null", "{}", r#""$stepwell.encrypted""#, r#"{"a":{"$stepwell.encrypted":1}}"#] {
            assert!(!is_sealed(&Payload::from_json(plain.into()).unwrap()), "{plain}");
        }
    }

    #[test]
    fn what_is_no_envelope_says_why() {
        let whole = sealed().payload().unwrap().json().to_owned();
        for (broken, why) in [
            (whole.replace("}}", ",\"x\":1}}"), ""),
            (whole.replace("}}", "},\"x\":1}"), "complete"),
            (whole.replace("k1", ""), "key id has 0 bytes"),
            (whole.replace("k1", &"k".repeat(65)), "key id has 65 bytes"),
            (whole.replace("AgIC", "?gIC"), "data is not base64"),
            (whole.replacen("AQEB", "AQ", 1), "nonce is not base64"),
            (whole[..40].to_owned(), "complete"),
        ] {
            match read(&broken) {
                Ok(_) => assert!(why.is_empty(), "fields that are not known are passed over: {broken}"),
                Err(found) => assert!(!why.is_empty() && found.contains(why), "{found}: {broken}"),
            }
        }
    }

    #[test]
    fn people_without_the_key_see_which_it_is() {
        let one = sealed().payload().unwrap();
        let text = format!("Type: {} [note], {}", one.json(), one.json());
        assert_eq!(shown(&text), "Type: (encrypted with key k1) [note], (encrypted with key k1)");
        assert_eq!(shown("{plain}"), "{plain}");
        assert_eq!(shown("\"$stepwell.encrypted\""), "\"$stepwell.encrypted\"");
        let cut = format!("Type: {}", &one.json()[..50]);
        assert_eq!(shown(&cut), "Type: (encrypted, incomplete)");
    }
}
