//! A server that allows its users what `stepwell auth print` prints, and nothing else.

use stepwell_connection::ConnectionOptions;
use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::permissions::{User, server_of_all};
use stepwell_tests::cluster::{Logins, shards};

/// The queues that have a user each.
const QUEUES: [&str; 3] = ["default", "fragile", "other"];

/// Who may do everything: the test itself, to look at what happened.
const ADMIN: &str = "admin";

/// All users but the test's own.
pub(crate) fn users() -> Vec<User> {
    User::of_each(&QUEUES.map(|queue| Name::new(queue).expect("a name"))).expect("short names")
}

fn password(user: &str) -> String {
    format!("password of the {user}")
}

/// As the document says that a user logs in.
pub(crate) fn login(user: &str) -> ConnectionOptions {
    ConnectionOptions {
        nats_user: Some(user.to_owned()),
        nats_password: Some(password(user)),
        nats_inbox_prefix: (user != ADMIN).then(|| format!("_INBOX.{user}")),
        ..ConnectionOptions::default()
    }
}

/// The processes' logins; workers are of the queue `default`.
pub(crate) fn logins() -> Logins {
    Logins { client: login(ADMIN), orchestrator: login("orchestrator"), worker: login("worker-default") }
}

/// The configuration that is printed, word for word, and one more user. The passwords that it names are defined
/// before it; a server in earnest has them in its environment.
pub(crate) fn printed() -> String {
    let users = users();
    let variable = |name: &str| name.to_uppercase().replace('-', "_");
    let passwords = users.iter().map(|user| {
        format!("{}_PASSWORD: {:?}\n", variable(user.name.as_str()), password(user.name.as_str()))
    });
    let printed = server_of_all(&users, &Namespace::default(), shards());
    let beginning = "  users = [\n";
    assert!(printed.contains(beginning), "{printed}");
    let admin = format!("{beginning}    {{ user: {ADMIN}, password: {:?} }}\n", password(ADMIN));
    passwords.collect::<String>() + &printed.replacen(beginning, &admin, 1)
}
