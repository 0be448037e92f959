//! Ciphers of users that fail, panic or give what must not be sent.

use stepwell_encryption::{CipherError, Context, Encryption, PayloadCipher, PayloadError, Place, Sealed};

use crate::support::{MARKER, id, marked, name, with};

struct Broken(fn() -> Result<Sealed, CipherError>, fn() -> Result<Vec<u8>, CipherError>);

impl PayloadCipher for Broken {
    fn seal(&self, _plain: &[u8], _context: &Context<'_>) -> Result<Sealed, CipherError> {
        (self.0)()
    }

    fn open(&self, _sealed: &Sealed, _context: &Context<'_>) -> Result<Vec<u8>, CipherError> {
        (self.1)()
    }
}

fn good() -> Result<Sealed, CipherError> {
    Ok(Sealed { algorithm: "test/1".into(), key: "k".into(), nonce: vec![0], data: vec![0] })
}

fn seal(make: fn() -> Result<Sealed, CipherError>) -> Result<(), PayloadError> {
    let a = name("a");
    let mut payload = marked();
    let sealed =
        with(Encryption::with(Broken(make, || panic!()))).seal(&id("w"), Place::Signal(&a), &mut payload);
    assert_eq!(payload == marked(), sealed.is_err());
    sealed
}

fn open(give: fn() -> Result<Vec<u8>, CipherError>) -> Result<(), PayloadError> {
    let a = name("a");
    let payloads = with(Encryption::with(Broken(good, give)));
    let mut payload = marked();
    payloads.seal(&id("w"), Place::Signal(&a), &mut payload).expect("it is sealed");
    payloads.open(&id("w"), Place::Signal(&a), &mut payload)
}

#[test]
fn a_cipher_that_fails_or_panics_is_an_error_that_may_pass() {
    let offline = seal(|| Err(CipherError::Unavailable("the vault is closed".into()))).expect_err("it fails");
    assert_eq!(
        offline.to_string(),
        "the payload of signal `a` could not be encrypted or decrypted: the vault is closed"
    );
    let panicked = seal(|| panic!("{MARKER}")).expect_err("it panics");
    for error in [offline, panicked, open(|| panic!("{MARKER}")).expect_err("it panics")] {
        assert!(error.retryable() && !error.to_string().contains(MARKER), "{error}");
    }
}

#[test]
fn what_a_cipher_gives_is_checked() {
    seal(good).expect("it is good");
    seal(|| good().map(|it| Sealed { key: String::new(), ..it })).expect_err("no key id");
    seal(|| good().map(|it| Sealed { nonce: vec![0; 65], ..it })).expect_err("a long nonce");
    seal(|| good().map(|it| Sealed { algorithm: "a".repeat(65).into(), ..it })).expect_err("a long name");
    let large = seal(|| good().map(|it| Sealed { data: vec![0; 600_000], ..it })).expect_err("too large");
    assert!(matches!(large, PayloadError::TooLarge { .. }));
    open(|| Ok(b"[1, 2]".to_vec())).expect("it is JSON");
    for give in [|| Ok(b"no JSON".to_vec()), || Ok(vec![0xff]), || Ok(vec![b' '; 600_000])] {
        let error = open(give).expect_err("it is no payload");
        assert!(matches!(error, PayloadError::Malformed { .. }), "{error}");
    }
}
