//! Three `nats-server` processes that form one JetStream cluster on loopback, for tests that kill, stop and
//! part them. Whether there are leaders is looked up; nothing is waited for by the clock alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::monitor::{self, View};
use crate::server::{NatsServer, START_TIMEOUT, StartError, free_port, unique_name};

/// How many nodes a cluster has: the fewest that go on when one is gone.
pub const NODES: usize = 3;

/// Time between two looks at who leads.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// An address at which nobody listens. Nodes advertise it, so that they reach each other only by the
/// routes that they were given, which may lead over something in between.
const NOWHERE: &str = "127.0.0.1:1";

/// Ports of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    /// For clients.
    pub client: u16,
    /// For other nodes.
    pub route: u16,
    monitor: u16,
}

/// What kind of cluster is wanted. Made by [`NatsCluster::builder`].
#[derive(Debug)]
pub struct ClusterBuilder {
    binary: PathBuf,
    folder: PathBuf,
    config: String,
    name: String,
    ports: [NodePorts; NODES],
    /// Where node i dials to reach node j.
    routes: [[u16; NODES]; NODES],
}

/// A running cluster. Its processes are killed when this is dropped; the folder stays.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
    ports: [NodePorts; NODES],
}

impl ClusterBuilder {
    /// The ports that the nodes will have; known before they start, so that something can be put between them.
    #[must_use]
    pub fn ports(&self) -> [NodePorts; NODES] {
        self.ports
    }

    /// More text for the configuration of each node.
    #[must_use]
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    /// Lets node `from` reach node `to` over this port of the loopback interface instead of directly.
    #[must_use]
    pub fn route(mut self, from: usize, to: usize, port: u16) -> Self {
        self.routes[from % NODES][to % NODES] = port;
        self
    }

    /// Starts the nodes and waits until JetStream has a leader that knows all of them: one that dies before that leaves
    /// the others without a majority, and it has no place for streams with copies.
    ///
    /// # Errors
    /// [`StartError`] with the end of a server's log, if it wrote one.
    pub fn start(self) -> Result<NatsCluster, StartError> {
        let mut nodes = Vec::with_capacity(NODES);
        for (index, ports) in self.ports.iter().enumerate() {
            let server = NatsServer::builder(&self.binary)
                .store_dir(self.folder.join(format!("node-{index}")))
                .port(ports.client)
                .config(self.node_config(index));
            nodes.push(server.start()?);
        }
        let mut cluster = NatsCluster { nodes, ports: self.ports };
        cluster.wait_until_not(|views| leaderless(views).or_else(|| unknown(views)))?;
        Ok(cluster)
    }

    fn node_config(&self, index: usize) -> String {
        let routes = (0..NODES).filter(|to| *to != index);
        let routes = routes.map(|to| format!("\"nats://127.0.0.1:{}\"", self.routes[index][to]));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let NodePorts { route, monitor, .. } = self.ports[index];
        // Clients must not learn of other ways to the nodes than those that they were given.
        format!(
            "http: \"127.0.0.1:{monitor}\"\ncluster {{\n  name: {:?}\n  listen: \"127.0.0.1:{route}\"\n  \
             advertise: \"{NOWHERE}\"\n  no_advertise: true\n  connect_retries: 1\n  routes: [{routes}]\n}}\n{}\n",
            self.name, self.config
        )
    }
}

impl NatsCluster {
    /// Begins to describe a cluster whose nodes run `binary` and keep their streams below `folder`.
    ///
    /// # Errors
    /// When there are no free ports.
    pub fn builder(
        binary: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
    ) -> Result<ClusterBuilder, StartError> {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let free = || free_port(host).map_err(StartError::Port);
        let mut ports = [NodePorts { client: 0, route: 0, monitor: 0 }; NODES];
        for node in &mut ports {
            *node = NodePorts { client: free()?, route: free()?, monitor: free()? };
        }
        Ok(ClusterBuilder {
            binary: binary.into(),
            folder: folder.into(),
            config: String::new(),
            name: unique_name(),
            ports,
            routes: [ports.map(|node| node.route); NODES],
        })
    }

    /// Where clients of this machine connect, all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// The port for clients of each node.
    #[must_use]
    pub fn ports(&self) -> [NodePorts; NODES] {
        self.ports
    }

    /// The process id of a node, while it runs.
    #[must_use]
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes.get(node).and_then(NatsServer::pid)
    }

    /// Where a node writes its log.
    #[must_use]
    pub fn log(&self, node: usize) -> Option<&Path> {
        self.nodes.get(node).map(NatsServer::log)
    }

    /// Whether a node's process runs. One that is paused does.
    pub fn running(&mut self, node: usize) -> bool {
        self.nodes.get_mut(node).is_some_and(NatsServer::running)
    }

    /// Kills these nodes (SIGKILL), one right after the other. Their stores stay.
    pub fn kill(&mut self, nodes: &[usize]) {
        // All signals first: taking leave of a process takes a moment.
        let mut chosen: Vec<&mut NatsServer> = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if nodes.contains(&index) {
                node.kill_at_once();
                chosen.push(node);
            }
        }
        chosen.into_iter().for_each(NatsServer::kill);
    }

    /// Starts a node again on the same ports and store; returns when it takes connections, which is before
    /// it has joined the others.
    ///
    /// # Errors
    /// [`StartError`] when it does not come up again.
    pub fn restart(&mut self, node: usize) -> Result<(), StartError> {
        self.nodes.get_mut(node).map_or(Ok(()), NatsServer::restart)
    }

    /// Stops a node where it is (SIGSTOP), until [`resume`](Self::resume).
    ///
    /// # Errors
    /// When it does not run, or the system says no.
    pub fn pause(&self, node: usize) -> std::io::Result<()> {
        self.nodes.get(node).map_or_else(not_there, NatsServer::pause)
    }

    /// Lets a paused node go on (SIGCONT).
    ///
    /// # Errors
    /// When it does not run, or the system says no.
    pub fn resume(&self, node: usize) -> std::io::Result<()> {
        self.nodes.get(node).map_or_else(not_there, NatsServer::resume)
    }

    /// The node that leads JetStream, as a majority of nodes sees it.
    #[must_use]
    pub fn meta_leader(&self) -> Option<usize> {
        let views = self.views();
        let leader = views.iter().find(|view| {
            let followers = views.iter().filter(|other| other.meta_leader == view.name).count();
            !view.name.is_empty() && followers * 2 > NODES
        })?;
        self.node_called(&leader.name)
    }

    /// The node that says of itself that it leads this stream.
    #[must_use]
    pub fn stream_leader(&self, stream: &str) -> Option<usize> {
        let views = self.views();
        let leads =
            |view: &&View| view.led.iter().any(|(name, leader)| name == stream && *leader == view.name);
        views.iter().find(leads).and_then(|view| self.node_called(&view.name))
    }

    /// Waits until JetStream, and every stream and consumer that any running node knows of, has a leader.
    ///
    /// # Errors
    /// [`StartError::NoLeader`] after a minute.
    pub fn wait_until_led(&mut self) -> Result<(), StartError> {
        self.wait_until_not(leaderless)
    }

    fn wait_until_not(&mut self, missing: impl Fn(&[View]) -> Option<String>) -> Result<(), StartError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let Some(missing) = missing(&self.views()) else { return Ok(()) };
            if Instant::now() >= deadline {
                let log = self.nodes.first().map(|node| node.log().to_owned()).unwrap_or_default();
                let tail = self.nodes.first().map(NatsServer::log_tail).unwrap_or_default();
                return Err(StartError::NoLeader { of: missing, log, tail });
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// What has no leader now, if anything has none.
    #[must_use]
    pub fn leaderless(&self) -> Option<String> {
        leaderless(&self.views())
    }

    fn views(&self) -> Vec<View> {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let running = self.ports.iter().zip(&self.nodes).filter(|(_, node)| node.pid().is_some());
        running.filter_map(|(ports, _)| monitor::ask(SocketAddr::new(host, ports.monitor))).collect()
    }

    fn node_called(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name() == name)
    }
}

fn leaderless(views: &[View]) -> Option<String> {
    let agreed = views.iter().any(|view| {
        let followers = views.iter().filter(|other| other.meta_leader == view.name).count();
        !view.name.is_empty() && followers * 2 > NODES
    });
    if !agreed {
        return Some("JetStream".to_owned());
    }
    // Only the leader's own word counts: others may speak of one that is gone.
    let says_so = |asset: &str| {
        views.iter().any(|view| view.led.iter().any(|(name, leader)| name == asset && *leader == view.name))
    };
    views.iter().flat_map(|view| &view.led).find(|(name, _)| !says_so(name)).map(|(name, _)| name.clone())
}

/// Names JetStream while its leader does not have every other node as a follower.
fn unknown(views: &[View]) -> Option<String> {
    let whole = views.iter().any(|view| view.name == view.meta_leader && view.followers == NODES - 1);
    (!whole).then(|| "the whole of JetStream".to_owned())
}

fn not_there() -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, meta: &str, led: &[(&str, &str)]) -> View {
        let led = led.iter().map(|(name, leader)| ((*name).to_owned(), (*leader).to_owned())).collect();
        View { name: name.into(), meta_leader: meta.into(), followers: 0, led }
    }

    #[test]
    fn a_leader_is_one_that_says_so_itself_and_that_a_majority_follows() {
        let one = view("a", "a", &[("s", "b")]);
        assert_eq!(leaderless(std::slice::from_ref(&one)), Some("JetStream".into()), "one is no majority");
        let two = [one.clone(), view("b", "a", &[("s", "a")])];
        assert_eq!(leaderless(&two), Some("s".into()), "each takes the other for it");
        assert_eq!(leaderless(&[one, view("b", "a", &[("s", "b")])]), None);
        assert_eq!(leaderless(&[]), Some("JetStream".into()));
    }

    #[test]
    fn a_cluster_is_whole_when_its_leader_has_all_others_as_followers() {
        let views = |followers| [View { followers, ..view("a", "a", &[]) }, view("b", "a", &[])];
        assert_eq!(unknown(&views(NODES - 1)), None);
        assert!(unknown(&views(NODES - 2)).is_some());
        assert!(
            unknown(&[View { followers: NODES - 1, ..view("b", "a", &[]) }]).is_some(),
            "not its own word"
        );
    }
}
