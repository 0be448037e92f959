//! `stepwell auth print` prints the permissions that the documents show and the end-to-end tests use.

use std::process::{Command, Output};

use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::permissions::{Role, User, nsc, server, server_of_all};
use stepwell_shared::shard::Shards;

fn print(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
    command.args(["auth", "print"]).args(arguments).env_clear().output().expect("it runs")
}

fn printed(arguments: &[&str]) -> String {
    let output = print(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn worker(queue: &str) -> User {
    User::worker(&Name::new(queue).expect("a name")).expect("a short name")
}

#[test]
fn without_a_role_it_prints_a_user_of_each() {
    let mut users = vec![User::of(Role::Orchestrator), User::of(Role::Client), worker("a"), worker("b")];
    users.extend([Role::Operator, Role::ReadOnly, Role::Backup, Role::Restore].map(User::of));
    let wanted = server_of_all(&users, &Namespace::default(), Shards::ONE);
    assert_eq!(printed(&["--queue", "a", "--queue", "b"]), wanted + "\n");
}

#[test]
fn one_role_is_printed_for_a_server_and_for_nsc() {
    let shop = Namespace::new("shop").expect("a name");
    let wanted = server(&worker("mails"), &shop, Shards::ONE) + "\n";
    assert_eq!(printed(&["--role", "worker", "--queue", "mails", "--namespace", "shop"]), wanted);
    let user = User { name: Name::new("web").expect("a name"), ..User::of(Role::Client) };
    let wanted = nsc(&user, &Namespace::default(), Shards::ONE);
    assert!(wanted.starts_with("nsc add user --name 'web' \\\n  --allow-pub "), "{wanted}");
    assert_eq!(printed(&["--role", "client", "--user", "web", "--format", "nsc"]), wanted + "\n");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for arguments in [
        ["--role", "client", "--queue", "a"].as_slice(),
        &["--user", "web"],
        &["--role", "worker", "--queue", "a.b"],
        &["--role", "king"],
    ] {
        assert_eq!(print(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
