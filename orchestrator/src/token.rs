//! Task tokens: proof that who reports on an attempt was given it.
//!
//! A token is HMAC-SHA-256 over run, step and attempt under a secret of the namespace that only
//! orchestrators read, so that it need not be stored and survives restarts.
//!
//! Replay tokens are the same over a run, under a key of their own that is made from the secret, so that no token
//! of one kind can be taken for one of the other.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stepwell_shared::ids::{RunId, StepId};

/// Half of the digest: 128 bits cannot be guessed, and every task and report carries one.
const TOKEN_BYTES: usize = 16;

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What the secret signs to make the key of replay tokens. It is not the form of what is signed for an attempt.
const REPLAY_KEY: &[u8] = b"stepwell replay tokens";

/// Makes and checks tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    attempts: Hmac<Sha256>,
    replays: Hmac<Sha256>,
}

impl std::fmt::Debug for Tokens {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let attempts = keyed(secret);
        let replays = keyed(&attempts.clone().chain_update(REPLAY_KEY).finalize().into_bytes());
        Self { attempts, replays }
    }

    /// The token with which a run's records may be read.
    pub(crate) fn replay_token(&self, run_id: &RunId) -> String {
        let digest = self.replays.clone().chain_update(run_id.as_str()).finalize().into_bytes();
        hex(&digest[..TOKEN_BYTES])
    }

    /// Whether `token` is the run's replay token; in constant time.
    pub(crate) fn verify_replay(&self, token: &str, run_id: &RunId) -> bool {
        let Some(bytes) = unhex(token).filter(|bytes| bytes.len() == TOKEN_BYTES) else { return false };
        self.replays.clone().chain_update(run_id.as_str()).verify_truncated_left(&bytes).is_ok()
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
        let mut mac = self.attempts.clone();
        mac.update(format!("{run_id}/{step}/{attempt}").as_bytes());
        mac
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
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

    #[test]
    fn a_replay_token_is_its_runs_and_no_attempts() {
        let tokens = Tokens::new(b"secret");
        let (run, other) = (RunId::new("0190-run").unwrap(), RunId::new("0190-other").unwrap());
        let token = tokens.replay_token(&run);
        assert!(tokens.verify_replay(&token, &run));
        assert!(!tokens.verify_replay(&token, &other));
        assert!(!Tokens::new(b"other").verify_replay(&token, &run));
        assert!(!tokens.verify(&token, &run, StepId::Action(1), 1));
        let attempt = tokens.token(&run, StepId::Action(7), 1);
        assert!(!tokens.verify_replay(&attempt, &run));
        for bad in ["", "0", "zz", "é", &token[1..]] {
            assert!(!tokens.verify_replay(bad, &run), "{bad:?}");
        }
    }
}
