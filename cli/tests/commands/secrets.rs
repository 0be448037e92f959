//! No secret is written to a log, however much is logged: not one that a process was given, and not one that it
//! reads.

use std::fs::File;
use std::path::PathBuf;

use futures_util::StreamExt as _;
use nkeys::KeyPair;
use stepwell_connection::ConnectionOptions;
use stepwell_nats_server::{NatsServer, find};
use stepwell_shared::ids::Name;
use stepwell_shared::permissions::{Role, User};
use stepwell_shared::subject::Bucket;

use crate::support::{Process, command, eventually, file, finish};
use crate::tokens_of_operators::Operator;

/// What a process has written: found by anybody who reads logs.
struct Logs(Vec<PathBuf>);

impl Logs {
    /// Runs an orchestrator and a command with these variables, both with all that they log.
    fn of(name: &str, url: &str, variables: &[(&str, String)]) -> Self {
        let logs = ["orchestrator", "list"].map(|who| file(&format!("{name}-{who}.log"), ""));
        let run = |arguments: &[&str], log: &PathBuf| {
            let mut command = command(url, arguments);
            command.env("STEPWELL_LOG", "trace").envs(variables.iter().map(|(name, value)| (name, value)));
            command.stderr(File::create(log).unwrap());
            command
        };
        let token = file(&format!("{name}-http"), HTTP_TOKEN).to_string_lossy().into_owned();
        let arguments = ["orchestrator", "--listen", "127.0.0.1:0", "--http-token-file", &token];
        let _orchestrator = Process(run(&arguments, &logs[0]).spawn().unwrap());
        eventually("an orchestrator", || {
            (finish(run(&["list"], &logs[1]).spawn().unwrap()).code == 0).then_some(())
        });
        let log = std::fs::read_to_string(&logs[0]).unwrap();
        assert!(log.contains("stepwell_orchestrator"), "little was logged: {log}");
        Self(logs.to_vec())
    }

    fn hide(&self, secret: &str) {
        assert!(secret.len() > 5, "{secret} may be anything");
        for path in &self.0 {
            let log = std::fs::read_to_string(path).unwrap();
            assert!(
                log.contains("async_nats"),
                "{} has nothing of the client library: {log}",
                path.display()
            );
            assert!(!log.contains(secret), "{} has {secret}", path.display());
        }
    }
}

const HTTP_TOKEN: &str = "http-b7d0c6a9f1e24835";

#[tokio::test(flavor = "multi_thread")]
async fn passwords_tokens_and_the_namespaces_secret() {
    let config = "authorization { users: [ { user: joe, password: pass-4711-word } ] }";
    let server = NatsServer::builder(find().unwrap()).config(config).start().unwrap();
    let url = server.url();
    let login = [("NATS_USER", "joe".to_owned()), ("NATS_PASSWORD", "pass-4711-word".to_owned())];
    let logs = Logs::of("password", &url, &login);
    logs.hide("pass-4711-word");
    logs.hide(HTTP_TOKEN);
    let in_url = url.replace("nats://", "nats://joe:pass-4711-word@");
    let in_url_logs = Logs::of("url", &in_url, &[]);
    in_url_logs.hide("pass-4711-word");
    let connection = ConnectionOptions::to_url(&in_url).connect("test").await.unwrap();
    assert!(!format!("{:?}", ConnectionOptions::to_url(&in_url)).contains("4711"));
    let owners = connection.bucket(Bucket::Owners).await.unwrap();
    let mut keys = owners.keys().await.unwrap();
    let mut secret = None;
    while let Some(key) = keys.next().await {
        if key.unwrap() == "secret" {
            secret = owners.get("secret").await.unwrap();
        }
    }
    let secret: serde_json::Value = serde_json::from_slice(&secret.unwrap()).unwrap();
    for logs in [logs, in_url_logs] {
        logs.hide(secret["secret"].as_str().unwrap());
    }

    let config = "authorization { token: tok-4711-en }";
    let server = NatsServer::builder(find().unwrap()).config(config).start().unwrap();
    Logs::of("token", &server.url(), &[("NATS_TOKEN", "tok-4711-en".into())]).hide("tok-4711-en");
}

#[test]
fn seeds() {
    let pair = KeyPair::new_user();
    let seed = pair.seed().unwrap();
    let config = format!("authorization {{ users = [ {{ nkey: {} }} ] }}", pair.public_key());
    let server = NatsServer::builder(find().unwrap()).config(config).start().unwrap();
    let path = file("logged.seed", &seed).to_string_lossy().into_owned();
    Logs::of("nkey", &server.url(), &[("NATS_NKEY", path)]).hide(&seed);

    let operator = Operator::new();
    let server = NatsServer::builder(find().unwrap()).config(&operator.config).start().unwrap();
    // An orchestrator that may also list runs.
    let mut user = User::of(Role::Orchestrator);
    user.name = Name::new("both").unwrap();
    let path = operator.creds_of_all(&user);
    let creds = std::fs::read_to_string(&path).unwrap();
    let logs = Logs::of("creds", &server.url(), &[("NATS_CREDS", path.to_string_lossy().into_owned())]);
    let lines: Vec<&str> = creds.lines().filter(|line| !line.starts_with('-') && !line.is_empty()).collect();
    assert_eq!(lines.len(), 2, "{creds}");
    for secret in lines {
        logs.hide(secret);
    }
}
