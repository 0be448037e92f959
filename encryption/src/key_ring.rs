//! Keys by their ids: the first one encrypts, all of them decrypt.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::cipher::{CipherError, PayloadCipher};
use crate::envelope::{MAX_KEY_ID_BYTES, Sealed};
use crate::keys_file::KeysError;
use crate::place::Context;

/// How the key ring encrypts: XChaCha20-Poly1305, and the first version of what it authenticates.
pub const ALGORITHM: &str = "xchacha20-poly1305/1";

/// Most keys in a ring: one a week for a year, and far more than a rotation needs.
pub const MAX_KEYS: usize = 64;

/// Bytes of a nonce. It is drawn at random, and so long that two are never the same.
const NONCE_BYTES: usize = 24;

/// The bytes of a key, overwritten when they are dropped.
pub type Secret = Zeroizing<[u8; 32]>;

/// Keys in memory. Its `Debug` form shows their ids alone.
pub struct KeyRing(Vec<Entry>);

struct Entry {
    id: String,
    cipher: XChaCha20Poly1305,
}

impl KeyRing {
    /// A ring of one key, which encrypts.
    ///
    /// # Errors
    /// [`KeysError`] when the id is not one of 1 to 64 ASCII letters, digits, `.`, `_` and `-`.
    pub fn new(id: impl Into<String>, secret: &Secret) -> Result<Self, KeysError> {
        Self(Vec::new()).and(id, secret)
    }

    /// With one more key, which decrypts.
    ///
    /// # Errors
    /// [`KeysError`] when the id is not allowed or is in the ring already, or when there are [`MAX_KEYS`].
    pub fn and(mut self, id: impl Into<String>, secret: &Secret) -> Result<Self, KeysError> {
        let id = id.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if id.is_empty() || id.len() > MAX_KEY_ID_BYTES || !id.bytes().all(allowed) {
            return Err(KeysError::Id { id });
        }
        if self.0.iter().any(|entry| entry.id == id) {
            return Err(KeysError::Twice { id });
        }
        if self.0.len() == MAX_KEYS {
            return Err(KeysError::TooMany);
        }
        let key: &[u8; 32] = secret;
        self.0.push(Entry { id, cipher: XChaCha20Poly1305::new(&Key::from(*key)) });
        Ok(self)
    }

    /// The ids of the keys; the first one encrypts.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.id.as_str())
    }
}

impl PayloadCipher for KeyRing {
    fn seal(&self, plain: &[u8], context: &Context<'_>) -> Result<Sealed, CipherError> {
        let entry = self.0.first().ok_or(CipherError::UnknownKey)?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| {
            CipherError::Unavailable(format!("the system gives no random numbers: {error}"))
        })?;
        let aad = associated_data(&entry.id, context);
        let payload = Payload { msg: plain, aad: aad.as_bytes() };
        let data = entry.cipher.encrypt(&XNonce::from(nonce), payload);
        let data = data.map_err(|_| CipherError::Unavailable("it is too large for the algorithm".into()))?;
        Ok(Sealed { algorithm: ALGORITHM.into(), key: entry.id.clone(), nonce: nonce.to_vec(), data })
    }

    fn open(&self, sealed: &Sealed, context: &Context<'_>) -> Result<Vec<u8>, CipherError> {
        if sealed.algorithm != ALGORITHM {
            return Err(CipherError::UnknownAlgorithm);
        }
        let entry = self.0.iter().find(|entry| entry.id == sealed.key).ok_or(CipherError::UnknownKey)?;
        let nonce: [u8; NONCE_BYTES] =
            sealed.nonce.as_slice().try_into().map_err(|_| CipherError::NotAuthentic)?;
        let aad = associated_data(&entry.id, context);
        let payload = Payload { msg: &sealed.data, aad: aad.as_bytes() };
        entry.cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| CipherError::NotAuthentic)
    }
}

/// Six lines: algorithm, key id, and the four of the context.
fn associated_data(key: &str, context: &Context<'_>) -> String {
    format!("{ALGORITHM}\n{key}\n{}", context.associated_data())
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.ids().collect::<Vec<_>>()).finish()
    }
}
