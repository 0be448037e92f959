//! Logins that are taken away while their processes run: these say so, try again at a bounded rate, and go on
//! when they may.

use std::time::{Duration, Instant};

use serde_json::json;
use stepwell_connection::{ConnectionOptions, LONGEST_RECONNECT_WAIT};
use stepwell_tests::cluster::{Cluster, Logins};
use stepwell_tests::http;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::{eventually, until};
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::lifecycle::chain;
use stepwell_tests::workflows::waiting::{NUMBER, collects};

use crate::stage::{Cache, PROGRAM, Stage, result};

/// Everybody there is.
const USERS: [&str; 3] = ["admin", "orchestrator", "worker"];

/// Tries at a few milliseconds' distance that a client may make before the longest wait is reached.
const QUICK_TRIES: usize = 12;

/// How often somebody is refused before it is looked at how that came.
const REFUSALS: usize = QUICK_TRIES + 4;

/// How often a server refuses in the second between the end of one connection and the beginning of the next, the
/// end itself included.
const REFUSALS_OF_A_TRY: usize = 2;

/// A configuration with all users but one.
fn without(revoked: Option<&str>) -> String {
    let users = USERS.iter().filter(|user| Some(**user) != revoked);
    let users: Vec<String> = users.map(|user| format!("{{ user: {user}, password: secret }}")).collect();
    format!("authorization {{ users = [ {} ] }}", users.join(", "))
}

fn login(user: &str) -> ConnectionOptions {
    ConnectionOptions {
        nats_user: Some(user.to_owned()),
        nats_password: Some("secret".to_owned()),
        ..ConnectionOptions::default()
    }
}

async fn guarded(name: &str) -> Cluster {
    let logins =
        Logins { client: login("admin"), orchestrator: login("orchestrator"), worker: login("worker") };
    Cluster::start_guarded(name, PROGRAM, &without(None), logins).await
}

/// How often the server has refused this user.
fn refused(cluster: &Cluster, user: &str) -> usize {
    let log = std::fs::read_to_string(cluster.server.log()).expect("the server has a log");
    let user = format!("User \"{user}\"");
    log.lines().filter(|line| line.contains("authentication error") && line.contains(&user)).count()
}

/// How much processor time a process has used, where the system says so.
fn processor_time(process: &Process) -> Option<Duration> {
    /// In which the system counts it.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).ok()?;
    // The name, in brackets, may hold anything; user and system time are the 12th and 13th word after it.
    let words = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    Some(TICK * words.map(|ticks| ticks.parse::<u32>().expect("a number")).sum::<u32>())
}

/// Takes a user away until its process has been refused many times. Checks that it says why it is not ready, and
/// that it does nothing but wait between its tries.
async fn revoke(cluster: &mut Cluster, user: &str, process: &Process, address: &str) {
    let (began, used) = (Instant::now(), processor_time(process));
    cluster.server.reload(without(Some(user))).expect("the server takes it");
    until("many refusals", || refused(cluster, user) >= REFUSALS).await;
    let text = eventually("it says that it is not ready, and why", || async {
        let (status, text) = http::get(address, "/readyz").await?;
        (status == 503 && text.contains("authorization violation")).then_some(text)
    })
    .await;
    assert!(text.starts_with("not connected to NATS"), "{text}");
    let (refused, used) = (refused(cluster, user), processor_time(process).zip(used));
    // Looked at last: what was counted before came within this time.
    let passed = began.elapsed();
    let longest_waits = (passed.as_secs_f64() / LONGEST_RECONNECT_WAIT.as_secs_f64()).ceil() as usize + 1;
    let most = QUICK_TRIES + REFUSALS_OF_A_TRY * longest_waits;
    assert!(refused <= most, "{refused} refusals within {passed:?}");
    if let Some((after, before)) = used {
        assert!(after - before < passed / 2, "{:?} of processor time within {passed:?}", after - before);
    }
}

async fn allow(cluster: &mut Cluster, address: &str) {
    cluster.server.reload(without(None)).expect("the server takes it");
    eventually("it is ready", || async { http::get(address, "/readyz").await.filter(|it| it.0 == 200) })
        .await;
}

#[tokio::test]
async fn an_orchestrator_whose_login_is_revoked_says_so_and_comes_back() {
    let mut cluster = guarded("revoked-orchestrator").await;
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address]);
    cluster.answered().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let open = cluster.client.start(collects, "open", 3).await.expect("it starts");
    open.signal(NUMBER, 1).await.expect("it is open");
    let working = cluster.client.start(one_activity, "working", Call::of("wait_at", json!("gate"))).await;
    let working = working.expect("it starts");
    until("it is at work", || cluster.ledger.count("working", "wait_at", Phase::Started) == 1).await;
    revoke(&mut cluster, "orchestrator", &orchestrator, &address).await;
    // What comes meanwhile is stored, and taken in when it may.
    cluster.gates.open("gate");
    let body = json!({"v": 1, "payload": 2}).to_string();
    cluster.publish("stepwell.default.workflow.open.signal.number", body).await;
    allow(&mut cluster, &address).await;
    assert_eq!(result(&working).await, Settled::Ok(json!("gate")));
    assert_eq!(cluster.ledger.count("working", "wait_at", Phase::Started), 1);
    open.signal(NUMBER, 3).await.expect("it is open");
    assert_eq!(result(&open).await, [1, 2, 3]);
    Stage { cluster, orchestrator, worker }.finish().await;
}

#[tokio::test]
async fn a_worker_whose_login_is_revoked_says_so_and_comes_back() {
    let mut cluster = guarded("revoked-worker").await;
    let orchestrator = cluster.orchestrator().await;
    let address = http::free_address();
    let worker = cluster.worker(&Cache::Warm.worker().metrics(&address)).await;
    let open = cluster.client.start(collects, "open", 2).await.expect("it starts");
    open.signal(NUMBER, 1).await.expect("it is open");
    let working = cluster.client.start(one_activity, "working", Call::of("wait_at", json!("gate"))).await;
    let working = working.expect("it starts");
    until("it is at work", || cluster.ledger.count("working", "wait_at", Phase::Started) == 1).await;
    revoke(&mut cluster, "worker", &worker, &address).await;
    // What ends meanwhile is reported when it may, and what comes meanwhile waits.
    cluster.gates.open("gate");
    until("it has ended", || cluster.ledger.count("working", "wait_at", Phase::Finished) == 1).await;
    let waiting = cluster.client.start(chain, "waiting", 3).await.expect("it starts");
    open.signal(NUMBER, 2).await.expect("it is open");
    allow(&mut cluster, &address).await;
    assert_eq!(result(&working).await, Settled::Ok(json!("gate")));
    assert_eq!(result(&waiting).await.len(), 3);
    assert_eq!(result(&open).await, [1, 2]);
    Stage { cluster, orchestrator, worker }.finish().await;
}
