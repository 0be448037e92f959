//! Encryption of payloads where they leave and enter a client or a worker. NATS, orchestrators and backups
//! have ciphertext; what they need in order to work, ids, names, failure types, times, stays clear.
//!
//! This crate says what is encrypted under which binding ([`Place`]), how it looks ([`Sealed`]) and who does
//! it ([`PayloadCipher`], [`KeyRing`]). It never does I/O but to read a key file, and logs nothing. The form
//! of what is stored is documented for other languages in `docs/wire-format.md`.

mod cipher;
mod envelope;
mod error;
mod failure;
mod history;
mod key_ring;
mod keys_file;
mod payloads;
mod place;
mod views;
mod work;

pub use cipher::{CipherError, PayloadCipher};
pub use envelope::{MAX_KEY_ID_BYTES, MAX_NONCE_BYTES, Sealed, is_sealed, sealed_under, shown};
pub use error::PayloadError;
pub use key_ring::{ALGORITHM, KeyRing, MAX_KEYS, Secret};
pub use keys_file::{KEYS_FILE_VARIABLE, KeysError, MAX_KEYS_FILE_BYTES, new_key_line};
pub use payloads::{Encryption, MAX_SEALED_TEXT_BYTES, Payloads};
pub use place::{Context, Place};
