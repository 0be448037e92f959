//! Permissions as a NATS server's configuration file has them, and as `nsc` takes them.

use std::fmt::Write as _;

use super::{ANSWER_SECONDS, Allowed, MAX_ANSWERS, User};
use crate::ids::Namespace;
use crate::shard::Shards;

/// The `permissions` of a user in the configuration of `nats-server`.
#[must_use]
pub fn server(user: &User, namespace: &Namespace, shards: Shards) -> String {
    let permissions = user.permissions(namespace, shards);
    let mut text = "permissions: {\n".to_owned();
    block(&mut text, "publish", &permissions.publish);
    block(&mut text, "subscribe", &permissions.subscribe);
    if permissions.answers {
        let _ = writeln!(text, "  allow_responses: {{ max: {MAX_ANSWERS}, expires: \"{ANSWER_SECONDS}s\" }}");
    }
    text + "}"
}

/// A whole `authorization` of these users. Their passwords are taken from the server's environment:
/// `$CLIENT_PASSWORD` for a user called `client`.
#[must_use]
pub fn server_of_all(users: &[User], namespace: &Namespace, shards: Shards) -> String {
    let mut text = "authorization {\n  users = [\n".to_owned();
    for user in users {
        let name = &user.name;
        let _ = writeln!(text, "    # NATS_INBOX_PREFIX={}", user.inbox_prefix());
        let _ = writeln!(text, "    {{ user: \"{name}\", password: ${},", password_variable(user));
        for line in server(user, namespace, shards).lines() {
            let _ = writeln!(text, "      {line}");
        }
        text.push_str("    }\n");
    }
    text + "  ]\n}"
}

/// The command of `nsc` that makes the user.
#[must_use]
pub fn nsc(user: &User, namespace: &Namespace, shards: Shards) -> String {
    let permissions = user.permissions(namespace, shards);
    let mut text = format!("nsc add user --name '{}'", user.name);
    for (option, allowed) in [("--allow-pub", &permissions.publish), ("--allow-sub", &permissions.subscribe)]
    {
        for Allowed { subject, .. } in allowed {
            let _ = write!(text, " \\\n  {option} '{subject}'");
        }
    }
    if permissions.answers {
        let _ = write!(text, " \\\n  --allow-pub-response={MAX_ANSWERS} --response-ttl {ANSWER_SECONDS}s");
    }
    text
}

/// The commands of `nsc` that make these users.
#[must_use]
pub fn nsc_of_all(users: &[User], namespace: &Namespace, shards: Shards) -> String {
    users.iter().map(|user| nsc(user, namespace, shards)).collect::<Vec<_>>().join("\n\n")
}

/// The name of the environment variable with a user's password.
fn password_variable(user: &User) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    user.name.as_str().chars().map(upper).collect::<String>() + "_PASSWORD"
}

/// One subject a line; above the first of those with the same purpose, what it is.
fn block(text: &mut String, name: &str, allowed: &[Allowed]) {
    let _ = writeln!(text, "  {name}: {{ allow: [");
    let mut purpose = "";
    for one in allowed {
        if one.purpose != purpose {
            purpose = one.purpose;
            let _ = writeln!(text, "    # {purpose}");
        }
        let _ = writeln!(text, "    \"{}\"", one.subject);
    }
    text.push_str("  ] }\n");
}
