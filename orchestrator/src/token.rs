//! Task tokens: proof that who reports on an attempt was given it.
//!
//! A token is HMAC-SHA-256 over run, step and attempt under a secret of the namespace that only
//! orchestrators read, so that it need not be stored and survives restarts.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stepwell_shared::ids::{RunId, StepId};

/// Half of the digest: 128 bits cannot be guessed, and every task and report carries one.
const TOKEN_BYTES: usize = 16;

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Makes and checks tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    mac: Hmac<Sha256>,
}

impl Tokens {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { mac: Hmac::new_from_slice(secret).expect("HMAC takes a key of any length") }
    }

    /// The token of an attempt.
    pub(crate) fn token(&self, run_id: &RunId, step: StepId, attempt: u32) -> String {
        let digest = self.signed(run_id, step, attempt).finalize().into_bytes();
        hex(&digest[..TOKEN_BYTES])
    }

    /// Whether `token` is the attempt's; in constant time.
    pub(crate) fn verify(&self, token: &str, run_id: &RunId, step: StepId, attempt: u32) -> bool {
        let Some(bytes) = unhex(token).filter(|bytes| bytes.len() == TOKEN_BYTES) else { return false };
        self.signed(run_id, step, attempt).verify_truncated_left(&bytes).is_ok()
    }

    fn signed(&self, run_id: &RunId, step: StepId, attempt: u32) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(format!("{run_id}/{step}/{attempt}").as_bytes());
        mac
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(HEX_DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_attempt_itself_has_its_token() {
        let tokens = Tokens::new(b"secret");
        let run = RunId::new("0190-run").unwrap();
        let token = tokens.token(&run, StepId::Action(7), 1);
        assert!(tokens.verify(&token, &run, StepId::Action(7), 1));
        assert!(!tokens.verify(&token, &run, StepId::Action(7), 2));
        assert!(!tokens.verify(&token, &run, StepId::Undo(7), 1));
        assert!(!tokens.verify(&token, &RunId::new("0190-other").unwrap(), StepId::Action(7), 1));
        assert!(!Tokens::new(b"other").verify(&token, &run, StepId::Action(7), 1));
        for bad in ["", "0", "zz", "é", &token[1..]] {
            assert!(!tokens.verify(bad, &run, StepId::Action(7), 1), "{bad:?}");
        }
    }
}
