//! The servers of a run: one, or three that form a cluster whose nodes reach each other over links that can be
//! parted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stepwell_nats_server::{NODES, NatsCluster, NatsServer};

use crate::proxy::{Condition, Counted, Link};

/// One server or three.
#[derive(Debug)]
pub(crate) enum Servers {
    One(Box<NatsServer>),
    Three(Box<NatsCluster>, Routes),
}

/// The links between nodes.
#[derive(Debug)]
pub(crate) struct Routes(Vec<(usize, usize, Link)>);

impl Servers {
    pub(crate) async fn start(nodes: usize, binary: &Path, folder: &Path) -> Result<Self> {
        if nodes == 1 {
            let server = NatsServer::builder(binary).store_dir(folder.join("nats")).start()?;
            return Ok(Self::One(Box::new(server)));
        }
        let mut builder = NatsCluster::builder(binary, folder.join("nats"))?;
        let mut routes = Vec::new();
        for from in 0..NODES {
            for to in (0..NODES).filter(|to| *to != from) {
                let mut link = Link::default();
                let port = link.open(builder.ports()[to].route).await.context("no port for a route")?;
                builder = builder.route(from, to, port);
                routes.push((from, to, link));
            }
        }
        let cluster = tokio::task::spawn_blocking(move || builder.start()).await??;
        Ok(Self::Three(Box::new(cluster), Routes(routes)))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::One(server) => server.url(),
            Self::Three(cluster, _) => cluster.url(),
        }
    }

    /// The ports for clients.
    pub(crate) fn ports(&self) -> Vec<u16> {
        match self {
            Self::One(server) => vec![server.port()],
            Self::Three(cluster, _) => cluster.ports().iter().map(|node| node.client).collect(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Three(..) => NODES,
        }
    }

    pub(crate) fn pid(&self, node: usize) -> Option<u32> {
        match self {
            Self::One(server) => server.pid(),
            Self::Three(cluster, _) => cluster.pid(node),
        }
    }

    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        match self {
            Self::One(server) => vec![server.log().to_owned()],
            Self::Three(cluster, _) => {
                (0..NODES).filter_map(|node| cluster.log(node).map(Path::to_owned)).collect()
            }
        }
    }

    pub(crate) fn kill(&mut self, nodes: &[usize]) {
        match self {
            Self::One(server) => server.kill(),
            Self::Three(cluster, _) => cluster.kill(nodes),
        }
    }

    /// Starts a node again; the event loop goes on meanwhile.
    pub(crate) fn restart(&mut self, node: usize) -> Result<()> {
        tokio::task::block_in_place(|| match self {
            Self::One(server) => server.restart(),
            Self::Three(cluster, _) => cluster.restart(node),
        })?;
        Ok(())
    }

    /// Waits until everything has a leader, where there are leaders.
    pub(crate) fn wait_until_led(&mut self) -> Result<()> {
        tokio::task::block_in_place(|| match self {
            Self::One(_) => Ok(()),
            Self::Three(cluster, _) => cluster.wait_until_led(),
        })?;
        Ok(())
    }

    /// The node that leads this stream, or JetStream.
    pub(crate) fn leader(&self, stream: &str) -> Option<usize> {
        tokio::task::block_in_place(|| match self {
            Self::One(_) => Some(0),
            Self::Three(cluster, _) => cluster.stream_leader(stream).or_else(|| cluster.meta_leader()),
        })
    }

    pub(crate) fn pause(&self, node: usize) -> std::io::Result<()> {
        match self {
            Self::One(server) => server.pause(),
            Self::Three(cluster, _) => cluster.pause(node),
        }
    }

    pub(crate) fn resume(&self, node: usize) -> std::io::Result<()> {
        match self {
            Self::One(server) => server.resume(),
            Self::Three(cluster, _) => cluster.resume(node),
        }
    }

    /// Changes the state of all links of a node to the others.
    pub(crate) fn part(&self, node: usize, condition: Condition) {
        if let Self::Three(_, Routes(routes)) = self {
            let of_node = routes.iter().filter(|(from, to, _)| *from == node || *to == node);
            of_node.for_each(|(_, _, link)| link.set(condition));
        }
    }

    /// What the links of a node have seen.
    pub(crate) fn counted(&self, node: usize) -> Counted {
        let mut sum = Counted::default();
        if let Self::Three(_, Routes(routes)) = self {
            for (_, _, link) in routes.iter().filter(|(from, to, _)| *from == node || *to == node) {
                let Counted { passed, held, late, reset } = link.counted();
                sum.passed += passed;
                sum.held += held;
                sum.late += late;
                sum.reset += reset;
            }
        }
        sum
    }
}
