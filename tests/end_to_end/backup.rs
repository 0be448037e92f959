//! A namespace is backed up while runs of all kinds are in the middle of something; server, store and all processes
//! are destroyed; what was restored onto a new server goes on, and ends with the answers that are known in advance.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stepwell::{Client, Status};
use stepwell_nats_server::NatsServer;
use stepwell_shared::history::{Event, Record};
use stepwell_tests::activities::Leg;
use stepwell_tests::checks::{check_history, check_replay};
use stepwell_tests::cluster::{Cluster, WorkerSetup};
use stepwell_tests::ledger::{Phase, now_ms};
use stepwell_tests::patience::until;
use stepwell_tests::workflows;
use stepwell_tests::workflows::deploy::Version;
use stepwell_tests::workflows::lifecycle::{GO, chain, waits};
use stepwell_tests::workflows::money::{Plan, regrets, saves};
use stepwell_tests::workflows::sagas::{End, Trip, trip};
use stepwell_tests::workflows::waiting::{NUMBER, collects, naps};

use crate::stage::{Cache, PROGRAM, failure, result};

/// How many runs are moving while the backup is made.
const MOVING: i64 = 12;

/// How many steps each of them has.
const STEPS: i64 = 15;

/// Where activities wait that run while the backup is made.
const GATE: &str = "after the disaster";

#[tokio::test]
async fn all_runs_go_on_from_a_backup() {
    let mut cluster = Cluster::start("backup", PROGRAM).await;
    let orchestrators = [cluster.orchestrator().await, cluster.orchestrator().await];
    let worker = cluster.worker(&Cache::Warm.worker().slots(64)).await;
    let client = cluster.client.clone();
    let start = "it starts";
    // One of each kind.
    let done = client.start(chain, "done", 2).await.expect(start);
    assert_eq!(result(&done).await.len(), 2);
    client.start(naps, "sleeps", vec![20_000, 10]).await.expect(start);
    client.start(waits, "waits", ()).await.expect(start);
    let collecting = client.start(collects, "collects", 3).await.expect(start);
    for number in [1, 2] {
        collecting.signal(NUMBER, number).await.expect("it is open");
    }
    let running = Plan { account: "running".into(), steps: 2, gate: Some(GATE.into()) };
    client.start(saves, "running", running.clone()).await.expect(start);
    let leg = |name: &str| Leg { name: name.into(), undo_gate: Some(GATE.into()), ..Leg::default() };
    let broken_off = Trip { legs: vec![leg("north"), leg("south")], end: End::Fail, ..Trip::default() };
    let compensating = client.start(trip, "compensates", broken_off).await.expect(start);
    client.start(chain, "parked", 2).queue("lonely").await.expect(start);
    until("the one activity runs", || cluster.ledger.count("running", "deposit", Phase::Started) == 2).await;
    until("the compensation runs", || {
        cluster.ledger.count("compensates", "return_ticket", Phase::Started) == 1
    })
    .await;
    cluster.until_stuck("parked").await;
    let status = |status| move |it: &stepwell_shared::api::Description| it.summary.status == status;
    cluster.until_described("it compensates", &compensating, status(Status::Compensating)).await;
    // And some that do not stand still.
    let plan =
        |kind: &str, number: i64| Plan { account: format!("{kind}-{number}"), steps: STEPS, gate: None };
    for number in 0..MOVING {
        let (saving, regretting) = (plan("saves", number), plan("regrets", number));
        client.start(saves, saving.account.clone(), saving).await.expect(start);
        client.start(regrets, regretting.account.clone(), regretting).await.expect(start);
    }
    until("they move", || finished(&cluster) > 20).await;
    let recorded = ended_steps(&cluster.histories().await);
    assert!(recorded.len() > 10, "{}", recorded.len());

    let directory = cluster.folder().join("backup");
    stepwell(&cluster, &["backup", &directory.to_string_lossy()]);
    let too_late = client.start(chain, "too late", 1).await;
    too_late.expect("orchestrators and clients go on after a backup");
    // Everything is lost.
    for orchestrator in orchestrators {
        orchestrator.kill();
    }
    worker.kill();
    cluster.server.kill();
    let store = cluster.server.store_dir().to_owned();
    std::fs::remove_dir_all(store).expect("the store can be removed");
    let lost_at_ms = now_ms();

    let store = cluster.folder().join("nats-new");
    let server = NatsServer::builder(server_binary()).store_dir(store).start();
    cluster.server = server.unwrap_or_else(|error| panic!("{error}"));
    let options = cluster.at(&stepwell_connection::ConnectionOptions::default());
    cluster.client = Client::with(&options).await.expect("the server takes connections");
    stepwell(&cluster, &["restore", &directory.to_string_lossy()]);
    let orchestrators = [cluster.orchestrator().await, cluster.orchestrator().await];
    let worker = cluster.worker(&Cache::Warm.worker().slots(64)).await;
    let lonely = cluster.worker(&WorkerSetup::default().queue("lonely")).await;
    cluster.gates.open(GATE);
    let client = &cluster.client;
    client.workflow(waits, "waits").signal(GO, 7).await.expect("it is open");
    client.workflow(collects, "collects").signal(NUMBER, 3).await.expect("it is open");

    assert_eq!(result(&client.workflow(chain, "done")).await.len(), 2);
    let naps = result(&client.workflow(naps, "sleeps")).await;
    assert!(naps.iter().zip([20_000, 10]).all(|(took, nap)| *took >= nap), "{naps:?}");
    assert_eq!(result(&client.workflow(waits, "waits")).await, 7);
    assert_eq!(result(&client.workflow(collects, "collects")).await, [1, 2, 3]);
    assert_eq!(result(&client.workflow(saves, "running")).await, running.total());
    assert_eq!(cluster.bank.balance("running"), running.total());
    let (status, why) = failure(&client.workflow(trip, "compensates")).await;
    assert_eq!((status, why.error_type.as_str()), (Status::Compensated, "Homesick"));
    assert_eq!(result(&client.workflow(chain, "parked")).await.len(), 2);
    for number in 0..MOVING {
        let (saving, regretting) = (plan("saves", number), plan("regrets", number));
        let saved = result(&client.workflow(saves, saving.account.clone())).await;
        assert_eq!((saved, cluster.bank.balance(&saving.account)), (saving.total(), saving.total()));
        let (status, _) = failure(&client.workflow(regrets, regretting.account.clone())).await;
        assert_eq!((status, cluster.bank.balance(&regretting.account)), (Status::Compensated, 0));
    }

    // Nothing whose result was recorded before the backup was executed again.
    let again = cluster.ledger.read().into_iter().filter(|entry| {
        let step = (entry.workflow_id.clone(), entry.step.clone());
        entry.at_ms >= lost_at_ms && entry.phase == Phase::Started && recorded.contains(&step)
    });
    assert_eq!(again.map(|entry| (entry.workflow_id, entry.step)).collect::<Vec<_>>(), []);
    // What was acknowledged after the backup is not in it.
    let ids: Vec<String> = cluster.runs().await.iter().map(|run| run.workflow_id.to_string()).collect();
    assert!(!ids.contains(&"too late".to_owned()), "{ids:?}");
    assert_eq!(ids.len(), 7 + 2 * usize::try_from(MOVING).expect("a small number"));
    assert!(cluster.runs().await.iter().all(|run| run.status.closed()));
    let codes = workflows::all(Version::Good);
    for (id, records) in cluster.histories().await {
        let checked = check_history(&records).and_then(|()| check_replay(&records, &codes));
        checked.unwrap_or_else(|broken| panic!("the history of {id}: {broken}"));
    }
    for orchestrator in orchestrators {
        orchestrator.stop().await;
    }
    worker.stop().await;
    lonely.stop().await;
}

/// The `stepwell` command, which is built beside the test processes.
fn stepwell(cluster: &Cluster, arguments: &[&str]) {
    let binary = Path::new(PROGRAM).with_file_name("stepwell");
    assert!(binary.exists(), "{} is missing; `cargo build -p stepwell-cli` makes it", binary.display());
    let url = cluster.server.url();
    let output = std::process::Command::new(binary).args(["--nats-url", &url]).args(arguments).output();
    let output = output.expect("it can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
}

fn server_binary() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    stepwell_nats_server::find_in(&root).unwrap_or_else(|error| panic!("{error}"))
}

fn finished(cluster: &Cluster) -> usize {
    cluster.ledger.read().iter().filter(|entry| entry.phase == Phase::Finished).count()
}

/// The steps that have a result, with their workflow.
fn ended_steps(histories: &[(String, Vec<Record>)]) -> BTreeSet<(String, String)> {
    let mut ended = BTreeSet::new();
    for (id, records) in histories {
        for event in records.iter().flat_map(|record| &record.events) {
            if let Event::ActivityCompleted { seq, .. } = event {
                ended.insert((id.clone(), seq.to_string()));
            }
            if let Event::CompensationCompleted { seq, .. } = event {
                ended.insert((id.clone(), format!("undo-{seq}")));
            }
        }
    }
    ended
}
