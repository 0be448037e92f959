//! Three real servers that form a cluster, and its leaders.

use stepwell_nats_server::{NODES, NatsCluster, find};

/// A folder that goes with the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("stepwell-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn another_node_leads_when_the_leader_is_killed_or_stopped() {
    let folder = Folder::new("cluster");
    let binary = find().expect("a nats-server binary; set STEPWELL_NATS_SERVER");
    let mut cluster = NatsCluster::builder(binary, &folder.0).unwrap().start().unwrap();
    let first = cluster.meta_leader().expect("a leader");
    let pid = cluster.pid(first).expect("it runs");
    cluster.kill(&[first]);
    assert!(!cluster.running(first));
    cluster.wait_until_led().unwrap();
    let second = cluster.meta_leader().expect("another leader");
    assert_ne!(second, first);
    cluster.restart(first).unwrap();
    assert_ne!(cluster.pid(first), Some(pid));
    cluster.wait_until_led().unwrap();

    let second = cluster.meta_leader().unwrap_or(second);
    cluster.pause(second).unwrap();
    assert!(cluster.running(second), "it is stopped, not dead");
    cluster.wait_until_led().unwrap();
    assert_ne!(cluster.meta_leader(), Some(second));
    cluster.resume(second).unwrap();
    cluster.wait_until_led().unwrap();
}

#[test]
fn all_nodes_come_back_after_they_were_killed_together() {
    let folder = Folder::new("cluster-all");
    let binary = find().expect("a nats-server binary; set STEPWELL_NATS_SERVER");
    let mut cluster = NatsCluster::builder(binary, &folder.0).unwrap().start().unwrap();
    let all: Vec<usize> = (0..NODES).collect();
    cluster.kill(&all);
    assert_eq!(cluster.leaderless(), Some("JetStream".into()));
    assert!(cluster.pause(0).is_err(), "nobody is there to be stopped");
    for node in all {
        cluster.restart(node).unwrap();
    }
    cluster.wait_until_led().unwrap();
    assert!(cluster.meta_leader().is_some());
}
