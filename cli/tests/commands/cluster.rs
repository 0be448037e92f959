//! Three servers: what the doctor says of replicas, and a backup of one server that is restored onto three.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use stepwell_nats_server::{NODES, NatsCluster, NatsServer, find};

use crate::support::{Process, command, eventually, lists, stepwell};

fn orchestrator(url: &str, arguments: &[&str]) -> Process {
    let always = ["orchestrator", "--no-http"];
    let mut command = command(url, &[&always, arguments].concat());
    let process = Process(command.stderr(Stdio::null()).spawn().unwrap());
    eventually("the orchestrator", || (stepwell(url, &["workers"]).code == 0).then_some(()));
    process
}

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn check<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report["checks"].as_array()?.iter().find(|check| check["name"] == name)
}

/// The reports in which every stream has three replicas that are up to date.
fn whole(url: &str) -> Option<Value> {
    let report: Value = stepwell(url, &["doctor", "-o", "json"]).json();
    let streams = report["checks"].as_array()?.iter().filter(|check| check["details"]["replicas"] == 3);
    let whole = streams.filter(|check| {
        let peers = check["details"]["peers"].as_array().unwrap();
        peers.len() == NODES - 1 && peers.iter().all(|peer| peer["current"] == true)
    });
    (whole.count() == 9).then_some(report)
}

#[test]
fn a_namespace_moves_from_one_server_to_three_and_the_doctor_tells_of_each() {
    let directory = folder("moves");
    {
        let server = NatsServer::builder(find().unwrap()).start().unwrap();
        let _orchestrator = orchestrator(&server.url(), &[]);
        for id in ["one", "two", "three"] {
            stepwell(&server.url(), &["start", "nobody", "--id", id]).ok();
        }
        stepwell(&server.url(), &["backup", directory.to_str().unwrap()]).ok();
    }
    let servers = folder("servers");
    let mut cluster = NatsCluster::builder(find().unwrap(), &servers).unwrap().start().unwrap();
    let url = cluster.url();
    stepwell(&url, &["restore", directory.to_str().unwrap(), "--replicas", "3"]).ok();
    let process = orchestrator(&url, &[]);
    lists(&url, 3);
    let report = eventually("replicas that are up to date", || whole(&url));
    let history = check(&report, "STEPWELL_default_HISTORY").unwrap();
    assert_eq!(history["status"], "ok");
    assert!(history["found"].as_str().unwrap().contains("3 replicas in "), "{history}");
    assert!(report["durability"]["node_loss"].as_str().unwrap().starts_with("survived: 2 of 3"), "{report}");
    assert!(report["durability"]["power_cut"].as_str().unwrap().starts_with("on one node it costs nothing"));
    // One copy of the three servers, which fits together as well.
    stepwell(&url, &["backup", folder("of-three").to_str().unwrap()]).ok();
    stepwell(&url, &["terminate", "two", "--reason", "enough"]).ok();
    // One node less.
    let leader = cluster.stream_leader("STEPWELL_default_HISTORY").unwrap();
    cluster.kill(&[(leader + 1) % NODES]);
    let report = eventually("a replica that is away", || {
        let report: Value = stepwell(&url, &["doctor", "-o", "json"]).json();
        let away = check(&report, "STEPWELL_default_HISTORY")?["status"] == "warning";
        away.then_some(report)
    });
    let said = report["durability"]["node_loss"].as_str().unwrap();
    assert!(said.starts_with("right now everything would stand still"), "{said}");
    drop(process);
    drop(cluster);
    let _ = std::fs::remove_dir_all(servers);
}
