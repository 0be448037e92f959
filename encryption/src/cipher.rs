//! Who encrypts: the trait for key rings, key management services and whatever else has keys.

use std::sync::Arc;

use thiserror::Error;

use crate::envelope::Sealed;
use crate::place::Context;

/// Encrypts and decrypts payloads. [`KeyRing`](crate::KeyRing) is the built-in one.
///
/// It is called on threads that do other work as well, once for each payload, and again for each replay: it
/// must answer within about a millisecond and must not wait for a network. With a key management service,
/// fetch or unwrap data keys before the worker runs and keep them in memory. A panic is caught and counts as
/// [`CipherError::Unavailable`].
pub trait PayloadCipher: Send + Sync + 'static {
    /// Encrypts bytes, at most 512 KiB. The same bytes must not give the same ciphertext twice, and
    /// [`Context::associated_data`] must be authenticated.
    ///
    /// # Errors
    /// [`CipherError`] when it cannot be done now; nothing is sent then.
    fn seal(&self, plain: &[u8], context: &Context<'_>) -> Result<Sealed, CipherError>;

    /// Decrypts what was sealed with the same context, by this process or another one.
    ///
    /// # Errors
    /// [`CipherError`] when the key is not there, or when the data are not what was sealed there.
    fn open(&self, sealed: &Sealed, context: &Context<'_>) -> Result<Vec<u8>, CipherError>;
}

impl<C: PayloadCipher + ?Sized> PayloadCipher for Arc<C> {
    fn seal(&self, plain: &[u8], context: &Context<'_>) -> Result<Sealed, CipherError> {
        (**self).seal(plain, context)
    }

    fn open(&self, sealed: &Sealed, context: &Context<'_>) -> Result<Vec<u8>, CipherError> {
        (**self).open(sealed, context)
    }
}

/// Why something was not encrypted or decrypted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CipherError {
    /// There is no key of that id.
    #[error("there is no such key here")]
    UnknownKey,
    /// It was sealed with an algorithm that is not known here.
    #[error("the algorithm is not known here")]
    UnknownAlgorithm,
    /// The data were changed, or sealed for another place or with another key.
    #[error("it was changed, or sealed for another place or with another key of the same id")]
    NotAuthentic,
    /// It may work later. The text must not hold secrets: it is logged and recorded.
    #[error("{0}")]
    Unavailable(String),
}
