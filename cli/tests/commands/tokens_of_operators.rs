//! A server's trust in an operator, an account and a user, as JWTs that are signed here: what `nsc` does.

use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use stepwell_shared::ids::Namespace;
use stepwell_shared::permissions::{ANSWER_SECONDS, Allowed, MAX_ANSWERS, User};
use stepwell_shared::shard::Shards;

use crate::support::file;

/// An operator with an account for Stepwell.
pub(crate) struct Operator {
    account: KeyPair,
    /// The server's configuration.
    pub(crate) config: String,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let (operator, system, account) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let claims = json!({"type": "operator", "version": 2, "system_account": system.public_key()});
        let operator_token = token(&operator, &operator.public_key(), "operator", &claims);
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let claims = json!({"type": "account", "version": 2, "limits": limits});
        let account_token = token(&operator, &account.public_key(), "stepwell", &claims);
        let mut claims = claims;
        for name in ["mem_storage", "disk_storage", "streams", "consumer"] {
            claims["limits"][name] = json!(0);
        }
        let system_token = token(&operator, &system.public_key(), "system", &claims);
        let config = format!(
            // With all permissions in it, a login is longer than the server takes without being told.
            "max_control_line: 32768\noperator: {operator_token}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n  \
             {system}: {system_token}\n  {account}: {account_token}\n}}\n",
            system = system.public_key(),
            account = account.public_key()
        );
        Self { account, config }
    }

    /// A credentials file of a user with the permissions of its role.
    pub(crate) fn creds(&self, user: &User) -> PathBuf {
        creds(&self.account, user)
    }

    /// The same without bounds.
    pub(crate) fn creds_of_all(&self, user: &User) -> PathBuf {
        signed(
            &self.account,
            user,
            json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}),
        )
    }

    /// The same of an account of which the server knows nothing.
    pub(crate) fn creds_of_a_stranger(user: &User) -> PathBuf {
        creds(&KeyPair::new_account(), user)
    }
}

fn creds(account: &KeyPair, user: &User) -> PathBuf {
    let permissions = user.permissions(&Namespace::default(), Shards::ONE);
    let subjects = |allowed: &[Allowed]| allowed.iter().map(|one| one.subject.clone()).collect::<Vec<_>>();
    let mut claims = json!({
        "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
        "pub": {"allow": subjects(&permissions.publish)},
        "sub": {"allow": subjects(&permissions.subscribe)},
    });
    if permissions.answers {
        claims["resp"] = json!({"max": MAX_ANSWERS, "ttl": ANSWER_SECONDS * 1_000_000_000});
    }
    signed(account, user, claims)
}

fn signed(account: &KeyPair, user: &User, claims: Value) -> PathBuf {
    let pair = KeyPair::new_user();
    let token = token(account, &pair.public_key(), user.name.as_str(), &claims);
    let seed = pair.seed().unwrap();
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    file(&format!("{}.creds", pair.public_key()), &text)
}

fn token(issuer: &KeyPair, subject: &str, name: &str, nats: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": format!("{name}-{subject}"), "iat": 1_700_000_000, "iss": issuer.public_key(),
        "name": name, "sub": subject, "nats": nats,
    });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
