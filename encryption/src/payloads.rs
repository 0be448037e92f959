//! Sealing and opening one payload or one text, by what a process was told: with a cipher, or without one.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use stepwell_shared::ids::{Namespace, WorkflowId};
use stepwell_shared::limits::{MAX_FAILURE_TEXT_BYTES, MAX_PAYLOAD_BYTES};
use stepwell_shared::payload::Payload;

use crate::cipher::{CipherError, PayloadCipher};
use crate::envelope::{self, MAX_KEY_ID_BYTES, Sealed, is_sealed};
use crate::error::PayloadError;
use crate::key_ring::KeyRing;
use crate::place::{Context, Place};

/// Longest text that is sealed, in bytes; longer ones are cut. Sealed it must be no longer than what is
/// recorded of a text, with room for a remark after it: what is cut then cannot be opened.
pub const MAX_SEALED_TEXT_BYTES: usize = 11 * 1024;

// Base64, the envelope around it, and 512 bytes for remarks.
const _: () = assert!(
    (MAX_SEALED_TEXT_BYTES + 64).div_ceil(3) * 4 + 256 + 2 * MAX_KEY_ID_BYTES + 512 <= MAX_FAILURE_TEXT_BYTES
);

/// How a client or a worker encrypts.
#[derive(Clone)]
pub struct Encryption {
    cipher: Arc<dyn PayloadCipher>,
    refuses_plain: bool,
}

impl Encryption {
    /// Encrypts with `cipher`, and still reads what is not encrypted.
    #[must_use]
    pub fn with(cipher: impl PayloadCipher) -> Self {
        Self { cipher: Arc::new(cipher), refuses_plain: false }
    }

    /// Takes no payload that is not encrypted: nobody without a key can give work to a worker then. What was
    /// started without encryption stalls until a worker without this comes.
    #[must_use]
    pub fn refuse_plain(mut self) -> Self {
        self.refuses_plain = true;
        self
    }
}

impl From<KeyRing> for Encryption {
    fn from(ring: KeyRing) -> Self {
        Self::with(ring)
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").field("refuses_plain", &self.refuses_plain).finish_non_exhaustive()
    }
}

/// Seals and opens what a process of one namespace sends and gets. Without encryption nothing is copied: what
/// is sent is left as it is, and of what comes only the first bytes are looked at. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Payloads {
    namespace: Namespace,
    encryption: Option<Encryption>,
}

impl Payloads {
    /// For a process of `namespace`.
    #[must_use]
    pub fn new(namespace: Namespace, encryption: Option<Encryption>) -> Self {
        Self { namespace, encryption }
    }

    /// Whether what is sent is encrypted.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.encryption.is_some()
    }

    /// Encrypts a payload in its place, if this process encrypts.
    ///
    /// # Errors
    /// [`PayloadError`] when the cipher fails, or when it is larger than 512 KiB encrypted; the payload is as it
    /// was and must not be sent.
    pub fn seal(&self, id: &WorkflowId, place: Place<'_>, payload: &mut Payload) -> Result<(), PayloadError> {
        let Some(encryption) = &self.encryption else { return Ok(()) };
        let too_large = |sealed: Option<usize>| PayloadError::TooLarge {
            what: place.to_string(),
            bytes: payload.size(),
            sealed,
            most: MAX_PAYLOAD_BYTES,
        };
        if payload.size() > MAX_PAYLOAD_BYTES {
            return Err(too_large(None));
        }
        let sealed = self.seal_bytes(encryption, id, place, payload.json().as_bytes())?;
        if sealed.size() > MAX_PAYLOAD_BYTES {
            return Err(too_large(Some(sealed.size())));
        }
        *payload = sealed;
        Ok(())
    }

    /// Decrypts a payload in its place, if it is encrypted.
    ///
    /// # Errors
    /// [`PayloadError`] when it cannot be decrypted here, or is plain and that is refused; the payload is as it
    /// was and must not be used.
    pub fn open(&self, id: &WorkflowId, place: Place<'_>, payload: &mut Payload) -> Result<(), PayloadError> {
        if !is_sealed(payload) {
            return match &self.encryption {
                Some(encryption) if encryption.refuses_plain => {
                    Err(PayloadError::Plain { what: place.to_string() })
                }
                Some(_) | None => Ok(()),
            };
        }
        let malformed = |reason: String| PayloadError::Malformed { what: place.to_string(), reason };
        let text = payload.json().trim_start();
        let (sealed, length) = envelope::read(text).map_err(malformed)?;
        if !text[length..].trim_end().is_empty() {
            return Err(malformed("something follows its envelope".to_owned()));
        }
        let text = self.open_utf8(id, place, &sealed)?;
        *payload =
            Payload::from_json(text).map_err(|_| malformed("it is not JSON when decrypted".to_owned()))?;
        Ok(())
    }

    /// Encrypts a text, cut at [`MAX_SEALED_TEXT_BYTES`], if this process encrypts. It becomes the text of an
    /// envelope.
    ///
    /// # Errors
    /// [`PayloadError`] when the cipher fails; the text is as it was and must not be sent.
    pub fn seal_text(
        &self,
        id: &WorkflowId,
        place: Place<'_>,
        text: &mut String,
    ) -> Result<(), PayloadError> {
        let Some(encryption) = &self.encryption else { return Ok(()) };
        let plain = cut(text);
        let sealed = self.seal_bytes(encryption, id, place, plain.as_bytes())?;
        if sealed.size() + REMARK_BYTES > MAX_FAILURE_TEXT_BYTES {
            return Err(PayloadError::TooLarge {
                what: place.to_string(),
                bytes: plain.len(),
                sealed: Some(sealed.size()),
                most: MAX_FAILURE_TEXT_BYTES - REMARK_BYTES,
            });
        }
        sealed.json().clone_into(text);
        Ok(())
    }

    /// Decrypts the first envelope in a text; what stands before and after it stays. A text without one stays
    /// as it is: orchestrators write texts, too, and have no keys.
    ///
    /// # Errors
    /// [`PayloadError`] when it cannot be decrypted here; the text is as it was.
    pub fn open_text(
        &self,
        id: &WorkflowId,
        place: Place<'_>,
        text: &mut String,
    ) -> Result<(), PayloadError> {
        let Some(at) = envelope::find(text) else { return Ok(()) };
        let malformed = |reason: String| PayloadError::Malformed { what: place.to_string(), reason };
        let (sealed, length) = envelope::read(&text[at..]).map_err(malformed)?;
        let opened = self.open_utf8(id, place, &sealed)?;
        text.replace_range(at..at + length, &opened);
        Ok(())
    }

    fn seal_bytes(
        &self,
        encryption: &Encryption,
        id: &WorkflowId,
        place: Place<'_>,
        plain: &[u8],
    ) -> Result<Payload, PayloadError> {
        let context = Context { namespace: &self.namespace, workflow_id: id, place };
        let failed = |reason: String| PayloadError::Cipher { what: place.to_string(), reason };
        let sealed =
            guarded(|| encryption.cipher.seal(plain, &context)).map_err(|it| failed(it.to_string()))?;
        sealed.check().map_err(failed)?;
        sealed.payload().map_err(|error| failed(error.to_string()))
    }

    fn open_utf8(&self, id: &WorkflowId, place: Place<'_>, sealed: &Sealed) -> Result<String, PayloadError> {
        let (what, key) = (place.to_string(), sealed.key.clone());
        let Some(encryption) = &self.encryption else { return Err(PayloadError::NoKeys { what, key }) };
        let context = Context { namespace: &self.namespace, workflow_id: id, place };
        let opened = guarded(|| encryption.cipher.open(sealed, &context)).map_err(|error| match error {
            CipherError::UnknownKey => PayloadError::UnknownKey { what: what.clone(), key },
            CipherError::UnknownAlgorithm => PayloadError::UnknownAlgorithm {
                what: what.clone(),
                algorithm: sealed.algorithm.clone().into_owned(),
            },
            CipherError::NotAuthentic => PayloadError::NotAuthentic { what: what.clone(), key },
            CipherError::Unavailable(reason) => PayloadError::Cipher { what: what.clone(), reason },
        })?;
        let malformed = |reason: &str| PayloadError::Malformed { what, reason: reason.to_owned() };
        if opened.len() > MAX_PAYLOAD_BYTES {
            return Err(malformed("it is larger than a payload may be when decrypted"));
        }
        String::from_utf8(opened).map_err(|_| malformed("it is not UTF-8 when decrypted"))
    }
}

/// Room that is left after the envelope of a text for remarks of the orchestrator.
const REMARK_BYTES: usize = 512;

/// Calls the user's cipher. What a panic says may hold anything, so it is not passed on.
fn guarded<T>(call: impl FnOnce() -> Result<T, CipherError>) -> Result<T, CipherError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        // What was panicked with may panic when it is dropped.
        std::mem::forget(panic);
        Err(CipherError::Unavailable("the cipher panicked".to_owned()))
    })
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_SEALED_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
