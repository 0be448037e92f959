//! Payloads with and without keys.

use stepwell_encryption::{Encryption, KeyRing, Payloads, Place, Secret};
use stepwell_shared::ids::{Name, Namespace, RunId, WorkflowId};
use stepwell_shared::payload::Payload;

/// What must be nowhere once it is sealed.
pub(crate) const MARKER: &str = "blue heron at dawn";

pub(crate) fn ring(keys: &[(&str, u8)]) -> KeyRing {
    let (first, rest) = keys.split_first().expect("a key");
    let secret = |byte: u8| Secret::new([byte; 32]);
    let ring = KeyRing::new(first.0, &secret(first.1)).expect("a good id");
    rest.iter().fold(ring, |ring, key| ring.and(key.0, &secret(key.1)).expect("a good id"))
}

pub(crate) fn payloads_in(namespace: &str, encryption: Option<Encryption>) -> Payloads {
    Payloads::new(Namespace::new(namespace).expect("a namespace"), encryption)
}

pub(crate) fn with(encryption: impl Into<Encryption>) -> Payloads {
    payloads_in("default", Some(encryption.into()))
}

/// With one key.
pub(crate) fn keyed() -> Payloads {
    with(ring(&[("k1", 1)]))
}

pub(crate) fn keyless() -> Payloads {
    payloads_in("default", None)
}

pub(crate) fn id(text: &str) -> WorkflowId {
    WorkflowId::new(text).expect("an id")
}

pub(crate) fn run(text: &str) -> RunId {
    RunId::new(text).expect("an id")
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) fn marked() -> Payload {
    Payload::encode(&MARKER).expect("JSON")
}

pub(crate) fn sealed(payloads: &Payloads, place: Place<'_>, plain: &Payload) -> Payload {
    let mut payload = plain.clone();
    payloads.seal(&id("w"), place, &mut payload).expect("it is sealed");
    assert_ne!(payload, *plain);
    payload
}
