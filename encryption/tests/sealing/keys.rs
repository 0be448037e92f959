//! Rotation, keys that are missing, damage, nonces, sizes.

use std::collections::HashSet;

use stepwell_encryption::{Encryption, KeyRing, PayloadError, Place, is_sealed, new_key_line, sealed_under};
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::payload::Payload;

use crate::support::{id, keyed, keyless, marked, name, ring, sealed, with};

/// The most plaintext for which the documents promise that it fits.
const PROMISED_BYTES: usize = 393_000;

#[test]
fn keys_are_rotated_without_a_moment_in_which_something_cannot_be_read() {
    let a = name("a");
    let place = Place::Signal(&a);
    let open = |keys: &[(&str, u8)], payload: &Payload| {
        let mut payload = payload.clone();
        with(ring(keys)).open(&id("w"), place, &mut payload).map(|()| payload)
    };
    let before = sealed(&with(ring(&[("old", 1)])), place, &marked());
    let prepared = sealed(&with(ring(&[("old", 1), ("new", 2)])), place, &marked());
    let rotated = sealed(&with(ring(&[("new", 2), ("old", 1)])), place, &marked());
    let keys: Vec<_> = [&before, &prepared, &rotated].into_iter().map(sealed_under).collect();
    assert_eq!(keys, [Some("old".into()), Some("old".into()), Some("new".into())]);
    for payload in [&before, &prepared, &rotated] {
        assert_eq!(open(&[("new", 2), ("old", 1)], payload), Ok(marked()));
        assert_eq!(open(&[("old", 1), ("new", 2)], payload), Ok(marked()));
    }
    assert_eq!(open(&[("new", 2)], &rotated), Ok(marked()));
    let error = open(&[("new", 2)], &before).expect_err("the key is gone");
    assert_eq!(
        error,
        PayloadError::UnknownKey { what: "the payload of signal `a`".into(), key: "old".into() }
    );
    assert!(!error.retryable());
    let error = open(&[("old", 9)], &before).expect_err("it is another key");
    assert!(matches!(error, PayloadError::NotAuthentic { .. }));
}

#[test]
fn every_change_of_an_envelope_is_noticed() {
    let a = name("a");
    let (payloads, place) = (with(ring(&[("k1", 1), ("k2", 2)])), Place::Signal(&a));
    let whole = sealed(&payloads, place, &marked()).json().to_owned();
    let (mut refused, mut parsed) = (0, 0);
    for at in 0..whole.len() {
        let mut bytes = whole.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        let Ok(mut payload) = Payload::from_json(changed) else { continue };
        parsed += 1;
        match payloads.open(&id("w"), place, &mut payload) {
            Ok(()) => assert!(!is_sealed(&payload), "{payload:?}"),
            Err(_) => refused += 1,
        }
        assert_ne!(payload, marked(), "a change at {at} was not noticed");
    }
    // A change in the name of the only field makes it an ordinary object.
    assert!(refused > 100 && refused + 21 >= parsed, "{refused} of {parsed}");
    let mut swapped = Payload::from_json(whole.replace("k1", "k2")).expect("JSON");
    let error = payloads.open(&id("w"), place, &mut swapped).expect_err("another key");
    assert!(matches!(error, PayloadError::NotAuthentic { .. }));
    let mut newer = Payload::from_json(whole.replace("poly1305/1", "poly1305/2")).expect("JSON");
    let error = payloads.open(&id("w"), place, &mut newer).expect_err("another algorithm");
    assert!(matches!(error, PayloadError::UnknownAlgorithm { .. }));
}

#[test]
fn no_nonce_comes_twice_and_equal_payloads_look_different() {
    let a = name("a");
    let payloads = keyed();
    let nonces: HashSet<String> = (0..20_000)
        .map(|_| {
            let payload = sealed(&payloads, Place::Signal(&a), &Payload::null());
            let value: serde_json::Value = payload.decode().expect("JSON");
            value["$stepwell.encrypted"]["nonce"].as_str().expect("a nonce").to_owned()
        })
        .collect();
    assert_eq!(nonces.len(), 20_000);
    assert!(nonces.iter().all(|nonce| nonce.len() == 32));
}

#[test]
fn as_much_fits_as_is_promised_and_what_does_not_says_so() {
    let longest = "k".repeat(64);
    let (a, payloads) = (name("a"), with(ring(&[(&longest, 1)])));
    let of = |bytes: usize| Payload::encode(&"x".repeat(bytes - 2)).expect("JSON");
    let stored = sealed(&payloads, Place::Signal(&a), &of(PROMISED_BYTES));
    assert!(stored.size() <= MAX_PAYLOAD_BYTES && stored.size() > MAX_PAYLOAD_BYTES - 1_000);
    for (bytes, shown) in
        [(394_000, "394000 bytes of JSON, which are 525"), (MAX_PAYLOAD_BYTES + 1, "are more bytes")]
    {
        let mut payload = of(bytes);
        let error = payloads.seal(&id("w"), Place::Signal(&a), &mut payload).expect_err("too large");
        assert!(error.to_string().contains(shown), "{error}");
        assert_eq!(payload, of(bytes));
    }
}

#[test]
fn plain_payloads_are_read_unless_they_are_refused() {
    let a = name("a");
    let place = Place::Signal(&a);
    for payloads in [keyed(), keyless()] {
        let mut payload = marked();
        assert_eq!(payloads.open(&id("w"), place, &mut payload), Ok(()));
        assert_eq!(payload, marked());
    }
    let strict = with(Encryption::with(ring(&[("k1", 1)])).refuse_plain());
    let error = strict.open(&id("w"), place, &mut marked()).expect_err("it is plain");
    assert_eq!(error, PayloadError::Plain { what: "the payload of signal `a`".into() });
    let mut payload = sealed(&keyed(), place, &marked());
    assert_eq!(strict.open(&id("w"), place, &mut payload), Ok(()));
}

#[test]
fn what_looks_like_an_envelope_is_a_payload_like_any_other_for_who_encrypts() {
    let a = name("a");
    let (payloads, place) = (keyed(), Place::Signal(&a));
    let envelope = sealed(&payloads, place, &marked());
    let mut twice = sealed(&payloads, place, &envelope);
    payloads.open(&id("w"), place, &mut twice).expect("it opens once");
    assert_eq!(twice, envelope);
}

#[test]
fn without_encryption_nothing_is_copied() {
    let a = name("a");
    let plain = marked();
    let mut payload = plain.clone();
    let payloads = keyless();
    payloads.seal(&id("w"), Place::Signal(&a), &mut payload).expect("nothing to do");
    payloads.open(&id("w"), Place::Signal(&a), &mut payload).expect("nothing to do");
    assert!(std::ptr::eq(payload.json(), plain.json()));
}

#[test]
fn a_key_of_a_file_opens_what_it_sealed() {
    let line = new_key_line("2026-11").expect("a key");
    let a = name("a");
    let read = || with(KeyRing::parse(&line).expect("a key file"));
    let mut payload = sealed(&read(), Place::Signal(&a), &marked());
    read().open(&id("w"), Place::Signal(&a), &mut payload).expect("it opens");
    assert_eq!(payload, marked());
}
