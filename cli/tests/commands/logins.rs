//! Every way to log in, for an orchestrator, a worker and a command, at a server that lets nobody else in. Who has
//! the wrong thing to show is told so, with exit code 7.

use std::path::{Path, PathBuf};
use std::process::Command;

use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};
use stepwell::prelude::*;
use stepwell::{CancellationToken, Client, ConnectionOptions, Worker};
use stepwell_nats_server::{NatsServer, find};
use stepwell_shared::ids::Name;
use stepwell_shared::permissions::{Role, User};

use crate::support::{Ended, Process, command, eventually, file, finish};
use crate::tokens_of_operators::Operator;

#[workflow]
async fn says(_ctx: WorkflowContext, text: String) -> Result<String, WorkflowError> {
    Ok(text)
}

/// Who logs in as what.
struct Logins {
    orchestrator: ConnectionOptions,
    worker: ConnectionOptions,
    command: ConnectionOptions,
}

impl Logins {
    /// Everybody in the same way.
    fn all(login: ConnectionOptions) -> Self {
        Self { orchestrator: login.clone(), worker: login.clone(), command: login }
    }
}

/// A command that logs in in this way.
fn as_user(login: &ConnectionOptions, url: &str, arguments: &[&str]) -> Command {
    let mut command = command(url, arguments);
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    for (name, value) in [
        ("NATS_CREDS", path(&login.nats_creds)),
        ("NATS_USER", login.nats_user.clone()),
        ("NATS_PASSWORD", login.nats_password.clone()),
        ("NATS_TOKEN", login.nats_token.clone()),
        ("NATS_NKEY", path(&login.nats_nkey)),
        ("NATS_CA", path(&login.nats_ca)),
        ("NATS_CERT", path(&login.nats_cert)),
        ("NATS_KEY", path(&login.nats_key)),
        ("NATS_TLS_FIRST", login.nats_tls_first.then(|| "true".to_owned())),
        ("NATS_INBOX_PREFIX", login.nats_inbox_prefix.clone()),
    ] {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn run(login: &ConnectionOptions, url: &str, arguments: &[&str]) -> Ended {
    finish(as_user(login, url, arguments).spawn().unwrap())
}

/// Everybody does their work; who logs in in a wrong way does not, and hears what to check.
async fn work(config: &str, logins: Logins, wrong: &[ConnectionOptions], check: &str) {
    let server = NatsServer::builder(find().unwrap()).config(config).start().unwrap();
    let url = server.url();
    let mut orchestrator = as_user(&logins.orchestrator, &url, &["orchestrator", "--no-http"]);
    let log = file("orchestrator.log", "");
    let log = std::fs::File::create(log).unwrap();
    let _orchestrator = Process(orchestrator.stderr(log).spawn().unwrap());
    eventually("an orchestrator", || (run(&logins.command, &url, &["list"]).code == 0).then_some(()));
    let options = ConnectionOptions { nats_url: url.clone(), ..logins.worker };
    let worker = Worker::new(Client::with(&options).await.unwrap(), "default").workflow(says);
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.run_until(stop.clone()));
    let start = ["start", "says", "--id", "a", "--input", "\"hello\"", "--wait"];
    let (command, at) = (logins.command.clone(), url.clone());
    // The worker needs this thread.
    let said = tokio::task::spawn_blocking(move || run(&command, &at, &start)).await.unwrap();
    assert!(said.stdout.contains("hello"), "{said:?}");
    said.ok();
    stop.cancel();
    working.await.unwrap().unwrap();
    for wrong in wrong {
        for arguments in [["list"].as_slice(), &["orchestrator", "--no-http"]] {
            let text = run(wrong, &url, arguments).failed(7);
            assert!(text.contains("refused the login") && text.contains(check), "{text}");
        }
        let options = ConnectionOptions { nats_url: url.clone(), ..wrong.clone() };
        let refused = Client::with(&options).await.unwrap_err();
        assert!(!refused.retryable(), "{refused}");
    }
}

fn nobody() -> ConnectionOptions {
    ConnectionOptions::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password() {
    let login = |user: &str, password: &str| ConnectionOptions {
        nats_user: Some(user.to_owned()),
        nats_password: Some(password.to_owned()),
        ..nobody()
    };
    let config = "authorization { users: [ { user: joe, password: right } ] }";
    let wrong = [login("joe", "wrong"), login("jim", "right"), nobody()];
    work(config, Logins::all(login("joe", "right")), &wrong, "--nats-user").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token() {
    let login = |token: &str| ConnectionOptions { nats_token: Some(token.to_owned()), ..nobody() };
    let config = "authorization { token: right }";
    work(config, Logins::all(login("right")), &[login("wrong"), nobody()], "--nats-token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nkey() {
    let [(key, known), (_, unknown)] = ["known", "unknown"].map(|name| {
        let pair = KeyPair::new_user();
        let path = file(&format!("{name}.seed"), &(pair.seed().unwrap() + "\n"));
        (pair.public_key(), ConnectionOptions { nats_nkey: Some(path), ..nobody() })
    });
    let config = format!("authorization {{ users = [ {{ nkey: {key} }} ] }}");
    work(&config, Logins::all(known), &[unknown, nobody()], "--nats-nkey").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_file_with_the_permissions_of_each_role() {
    let operator = Operator::new();
    let login = |user: &User, path: PathBuf| ConnectionOptions {
        nats_creds: Some(path),
        nats_inbox_prefix: Some(user.inbox_prefix()),
        ..nobody()
    };
    let known = |user: User| login(&user, operator.creds(&user));
    let logins = Logins {
        orchestrator: known(User::of(Role::Orchestrator)),
        worker: known(User::worker(&Name::new("default").unwrap()).unwrap()),
        command: known(User::of(Role::Operator)),
    };
    let user = User::of(Role::Operator);
    let stranger = login(&user, Operator::creds_of_a_stranger(&user));
    work(&operator.config, logins, &[stranger, nobody()], "--nats-creds").await;
}

/// An authority, and certificates that it signed.
struct Authority {
    issuer: Issuer<'static, rcgen::KeyPair>,
    path: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let path = file(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        Self { issuer: Issuer::new(params, key), path }
    }

    /// A certificate and its key.
    fn signed(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str, text: String| file(&format!("{name}.{end}"), &text);
        (file("cert.pem", certificate.pem()), file("key.pem", key.serialize_pem()))
    }
}

async fn certificates(name: &str, first: bool) {
    let (ours, others) = (Authority::new(&format!("{name}-ours")), Authority::new(&format!("{name}-others")));
    let (cert, key) = ours.signed(&format!("{name}-server"));
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    // A server that wants TLS first waits so long for it, and greets who says nothing.
    let first_for = if first { "\"2s\"" } else { "false" };
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true, handshake_first: {first_for} }}",
        shown(&cert),
        shown(&key),
        shown(&ours.path)
    );
    let login = |pair: Option<(PathBuf, PathBuf)>| {
        let (cert, key) = pair.unzip();
        let nats_ca = Some(ours.path.clone());
        ConnectionOptions { nats_ca, nats_cert: cert, nats_key: key, nats_tls_first: first, ..nobody() }
    };
    let good = login(Some(ours.signed(&format!("{name}-client"))));
    let wrong = [login(Some(others.signed(&format!("{name}-stranger")))), login(None)];
    work(&config, Logins::all(good), &wrong, "--nats-cert").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificate() {
    certificates("tls", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificate_before_the_greeting() {
    certificates("tls-first", true).await;
}
