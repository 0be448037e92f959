//! Backups: what they need, what is refused, and that orchestrators go on afterwards. Whether all runs go on after a
//! restore is in the end-to-end tests.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use stepwell_connection::{Connection, ConnectionOptions};
use stepwell_nats_server::{NatsServer, find};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::ids::{MemberId, Namespace};
use stepwell_shared::ownership::{Hold, Lease, Member};
use stepwell_shared::permissions::{Role, User, server_of_all};
use stepwell_shared::shard::Shards;
use stepwell_shared::subject::{Bucket, HOLD_KEY, lease_key, member_key};

use crate::support::{Process, command, eventually, finish, lists, stepwell};

/// A folder of its own that does not exist yet.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn server() -> NatsServer {
    NatsServer::builder(find().unwrap()).start().unwrap()
}

fn orchestrator(url: &str) -> Process {
    let arguments = ["orchestrator", "--no-http", "--lease", "1s"];
    let process = Process(command(url, &arguments).stderr(Stdio::null()).spawn().unwrap());
    eventually("the orchestrator", || (stepwell(url, &["workers"]).code == 0).then_some(()));
    process
}

fn backup(url: &str, directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap();
    ["--nats-url", url, "backup", directory, "--lease", "1s", "-o", "json"].map(str::to_owned).into()
}

fn run(arguments: &[String]) -> crate::support::Ended {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    stepwell(arguments[1], &arguments[2..])
}

fn restore(url: &str, directory: &Path) -> crate::support::Ended {
    stepwell(url, &["restore", directory.to_str().unwrap(), "-o", "json"])
}

async fn connect(url: &str) -> Connection {
    ConnectionOptions::to_url(url).connect("test").await.unwrap()
}

async fn put(connection: &Connection, key: &str, body: Vec<u8>) {
    let owners = connection.bucket(Bucket::Owners).await.unwrap();
    owners.put(key, Bytes::from(body)).await.unwrap();
}

/// A namespace with some runs, and a backup of it. The server is gone.
fn backed_up(name: &str) -> PathBuf {
    let directory = folder(name);
    let server = server();
    let _orchestrator = orchestrator(&server.url());
    for id in ["one", "two", "three"] {
        stepwell(&server.url(), &["start", "nobody", "--id", id]).ok();
    }
    let report: Value = serde_json::from_str(&run(&backup(&server.url(), &directory)).ok()).unwrap();
    assert_eq!(report["streams"], 9);
    assert!(report["messages"].as_u64().unwrap() > 6, "{report}");
    directory
}

#[test]
fn orchestrators_go_on_after_a_backup_and_what_came_meanwhile_is_taken_in() {
    let directory = folder("goes-on");
    let server = server();
    let url = server.url();
    let processes = [orchestrator(&url), orchestrator(&url)];
    stepwell(&url, &["start", "nobody", "--id", "before"]).ok();
    let arguments = backup(&url, &directory);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let child = command(&url, &arguments[2..]).spawn().unwrap();
    // While nobody decides, too.
    for number in 0..20 {
        stepwell(&url, &["start", "nobody", "--id", &format!("w{number}")]).ok();
    }
    finish(child).ok();
    stepwell(&url, &["start", "nobody", "--id", "after"]).ok();
    lists(&url, 22);
    let report: Value = stepwell(&url, &["doctor", "-o", "json"]).json();
    let names = report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap());
    assert!(names.into_iter().all(|name| name != "hold"), "no hold is left behind: {report}");
    drop(processes);
    // A directory is for one backup.
    assert!(run(&backup(&url, &directory)).failed(6).contains("is not empty"));
}

#[test]
fn a_restored_namespace_is_the_one_that_was_backed_up_and_is_not_restored_twice() {
    let directory = backed_up("same");
    let server = server();
    let url = server.url();
    restore(&url, &directory).ok();
    let again = restore(&url, &directory).failed(6);
    assert!(again.contains("STEPWELL_default_HISTORY") && again.contains("nothing was changed"), "{again}");
    let _orchestrator = orchestrator(&url);
    lists(&url, 3);
    stepwell(&url, &["terminate", "two", "--reason", "enough"]).ok();
    let history: Value = stepwell(&url, &["history", "two", "-o", "json"]).json();
    assert!(history.to_string().contains("enough"), "{history}");
    // It can be backed up again.
    run(&backup(&url, &folder("same-again"))).ok();
}

/// What the document says that these logins may do is enough, and no login does both.
#[test]
fn a_login_for_backups_and_one_for_restores_may_do_that_and_no_more() {
    let users = Role::ALL.map(User::of);
    let names = users.iter().map(|user| user.name.as_str().to_uppercase().replace('-', "_"));
    let passwords: String = names.map(|name| format!("{name}_PASSWORD: \"secret\"\n")).collect();
    let printed = passwords + &server_of_all(&users, &Namespace::default(), Shards::ONE);
    let guarded = || NatsServer::builder(find().unwrap()).config(printed.clone()).start().unwrap();
    let as_user = |url: &str, user: &str, arguments: &[&str]| {
        let mut command = command(url, arguments);
        let prefix = format!("_INBOX.{user}");
        command.envs([("NATS_USER", user), ("NATS_PASSWORD", "secret"), ("NATS_INBOX_PREFIX", &prefix)]);
        command
    };
    let ended =
        |url: &str, user: &str, arguments: &[&str]| finish(as_user(url, user, arguments).spawn().unwrap());
    let orchestrator = |url: &str| {
        let mut command = as_user(url, "orchestrator", &["orchestrator", "--no-http", "--lease", "1s"]);
        let process = Process(command.stderr(Stdio::null()).spawn().unwrap());
        eventually("the orchestrator", || (ended(url, "operator", &["workers"]).code == 0).then_some(()));
        process
    };
    let directory = folder("guarded");
    let directory = directory.to_str().unwrap();
    let backup = ["backup", directory, "--lease", "1s"];
    let (before, after) = (guarded(), guarded());
    let running = orchestrator(&before.url());
    ended(&before.url(), "operator", &["start", "nobody", "--id", "one"]).ok();
    let error = ended(&before.url(), "operator", &backup).failed(7);
    assert!(error.contains("stepwell auth print --role backup"), "{error}");
    ended(&before.url(), "backup", &backup).ok();
    // The orchestrators go on.
    ended(&before.url(), "operator", &["terminate", "one"]).ok();
    drop(running);
    let error = ended(&after.url(), "backup", &["restore", directory]).failed(7);
    assert!(error.contains("stepwell auth print --role restore"), "{error}");
    ended(&after.url(), "restore", &["restore", directory]).ok();
    let _running = orchestrator(&after.url());
    let list = ended(&after.url(), "operator", &["list", "-o", "json"]).ok();
    assert!(list.contains("\"one\""), "{list}");
    // Whoever may do it was never held up.
    for (server, user) in [(&before, "backup"), (&after, "restore")] {
        let log = std::fs::read_to_string(server.log()).unwrap();
        let of_user =
            log.lines().filter(|line| line.contains("Violation") && line.contains(&format!("user:{user}\"")));
        assert_eq!(of_user.collect::<Vec<_>>(), Vec::<&str>::new());
    }
}

#[test]
fn a_restore_that_lacks_a_lasting_key_of_the_bucket_owners_says_so() {
    let directory = backed_up("lasting");
    let manifest = directory.join("manifest.json");
    let mut written: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let lasting = written["lasting_keys"].as_u64().unwrap();
    assert!(lasting > 1, "leases and checkpoints: {lasting}");
    written["lasting_keys"] = (lasting + 1).into();
    std::fs::write(&manifest, written.to_string()).unwrap();
    let server = server();
    let error = restore(&server.url(), &directory).failed(1);
    let expected = format!("has {lasting} lasting keys, and should have {}", lasting + 1);
    assert!(error.contains(&expected) && error.contains("orchestrators refuse to start"), "{error}");
    let orchestrator = command(&server.url(), &["orchestrator", "--no-http"]).stderr(Stdio::null()).spawn();
    let mut orchestrator = Process(orchestrator.unwrap());
    let ended = eventually("its end", || orchestrator.0.try_wait().unwrap());
    assert!(!ended.success(), "it does not start on what is not complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_incomplete_directory_is_refused_before_anything_is_written() {
    let directory = backed_up("damaged");
    let server = server();
    let url = server.url();
    let nothing = async || {
        let mut names = connect(&url).await.jetstream().stream_names();
        futures_util::TryStreamExt::try_next(&mut names).await.unwrap()
    };
    let file = directory.join("STEPWELL_default_HISTORY.snapshot");
    let sound = std::fs::read(&file).unwrap();
    let mut flipped = sound.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&file, flipped).unwrap();
    let error = restore(&url, &directory).failed(1);
    assert!(error.contains("HISTORY.snapshot is damaged: its SHA-256 is"), "{error}");
    std::fs::write(&file, &sound[..middle]).unwrap();
    let error = restore(&url, &directory).failed(1);
    assert!(error.contains(&format!("it has {middle} bytes and should have {}", sound.len())), "{error}");
    std::fs::remove_file(&file).unwrap();
    assert!(restore(&url, &directory).failed(1).contains("cannot be opened"));
    std::fs::write(&file, &sound).unwrap();
    let manifest = directory.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    assert!(restore(&url, &directory).failed(2).contains("manifest.json is damaged"));
    std::fs::write(&manifest, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(restore(&url, &directory).failed(2).contains("has format 2"));
    std::fs::write(&manifest, text.replace("STEPWELL_default_TASKS.snapshot", "../elsewhere")).unwrap();
    assert!(restore(&url, &directory).failed(2).contains("names a file"));
    std::fs::remove_file(&manifest).unwrap();
    assert!(restore(&url, &directory).failed(2).contains("is no complete backup"));
    std::fs::write(&manifest, &text).unwrap();
    let other = stepwell(&url, &["--namespace", "other", "restore", directory.to_str().unwrap()]);
    assert!(other.failed(2).contains("--namespace default"));
    assert_eq!(nothing().await, None);
    // As it was, it is taken.
    restore(&url, &directory).ok();
    assert!(nothing().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_that_does_not_give_back_is_named_and_a_dead_one_is_not_waited_for() {
    let server = server();
    let url = server.url();
    drop(orchestrator(&url));
    let connection = connect(&url).await;
    // The one that was killed still stands in the leases. Nobody waits for it.
    run(&backup(&url, &folder("dead"))).ok();
    let id = MemberId::new("stubborn").unwrap();
    let lease = Lease { v: VERSION, holder: Some(id.clone()), epoch: 7 };
    put(&connection, &lease_key(5), encode(&lease)).await;
    let member =
        |beat| Member { v: VERSION, host: "rock".into(), process: 4711, since_ms: 0, beat, leaving: false };
    let alive = {
        let connection = connection.clone();
        tokio::spawn(async move {
            for beat in 0.. {
                put(&connection, &member_key(&id), encode(&member(beat))).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    };
    let mut arguments = backup(&url, &folder("stubborn"));
    arguments.extend(["--timeout".into(), "3s".into()]);
    let directory = folder("stubborn");
    let error = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap().failed(5);
    assert!(error.contains("process 4711 on rock (stubborn) has partition 5"), "{error}");
    assert!(!directory.join("manifest.json").exists());
    alive.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_do_not_hold_at_once_and_a_hold_that_was_left_behind_is_taken_over() {
    let server = server();
    let url = server.url();
    let _orchestrator = orchestrator(&url);
    let connection = connect(&url).await;
    let hold = |beat| Hold { v: VERSION, reason: "another backup".into(), beat };
    let renewed = {
        let connection = connection.clone();
        tokio::spawn(async move {
            for beat in 0.. {
                put(&connection, HOLD_KEY, encode(&hold(beat))).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    };
    eventually("the hold", || {
        let report: Value = stepwell(&url, &["doctor", "-o", "json"]).json();
        let mut checks = report["checks"].as_array().unwrap().iter();
        checks.any(|check| check["name"] == "hold" && check["status"] == "warning").then_some(())
    });
    let arguments = backup(&url, &folder("second"));
    let error = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap().failed(6);
    assert!(error.contains("somebody else holds the orchestrators (another backup)"), "{error}");
    renewed.abort();
    run(&backup(&url, &folder("third"))).ok();
}
