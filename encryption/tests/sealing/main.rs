//! What is sealed opens in its place and nowhere else; what cannot be opened says why and is left alone.

mod ciphers;
mod failures;
mod keys;
mod places;
mod properties;
mod support;
mod tasks;
