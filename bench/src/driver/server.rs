//! The servers that are measured with: one, one that syncs every write, or three that hold copies.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use stepwell_nats_server::{NODES, NatsCluster, NatsServer};

use super::traffic::Traffic;

/// What kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    /// One, which syncs as a server does when nothing is said.
    Plain,
    /// One that syncs every write before it acknowledges it.
    Synced,
    /// Three, with a copy on each.
    Replicated,
}

impl ServerKind {
    /// Copies of what is created.
    pub(crate) fn replicas(self) -> usize {
        match self {
            Self::Plain | Self::Synced => 1,
            Self::Replicated => NODES,
        }
    }
}

/// Running servers, killed when this is dropped; their stores go with them.
pub(crate) struct Server {
    running: Running,
    folder: Folder,
}

enum Running {
    One { server: NatsServer, monitoring_port: u16 },
    Three(NatsCluster),
}

impl Server {
    pub(crate) fn start(kind: ServerKind) -> Result<Self> {
        let (binary, folder) = (stepwell_nats_server::find()?, Folder::new()?);
        let one = |jetstream: &str| -> Result<Running> {
            let monitoring_port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let store = &folder.0;
            // A second block takes the place of the first one, with everything in it.
            let config = format!(
                "http: \"127.0.0.1:{monitoring_port}\"\njetstream {{ store_dir: {store:?}\n{jetstream} }}"
            );
            let server = NatsServer::builder(&binary).store_dir(store).config(config).start()?;
            Ok(Running::One { server, monitoring_port })
        };
        let running = match kind {
            ServerKind::Plain => one("")?,
            ServerKind::Synced => one("sync_interval: always")?,
            ServerKind::Replicated => Running::Three(NatsCluster::builder(&binary, &folder.0)?.start()?),
        };
        Ok(Self { running, folder })
    }

    pub(crate) fn url(&self) -> String {
        match &self.running {
            Running::One { server, .. } => server.url(),
            Running::Three(cluster) => cluster.url(),
        }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        match &self.running {
            Running::One { server, .. } => server.pid().into_iter().collect(),
            Running::Three(cluster) => (0..NODES).filter_map(|node| cluster.pid(node)).collect(),
        }
    }

    /// What went through it since it was started. Not of three: they count what they say to each other, too.
    pub(crate) async fn traffic(&self) -> Result<Option<Traffic>> {
        match &self.running {
            Running::One { monitoring_port, .. } => Ok(Some(Traffic::now(*monitoring_port).await?)),
            Running::Three(_) => Ok(None),
        }
    }

    /// Where it keeps what is stored.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("stepwell-bench-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to tell when it fails; the folder is in the system's temporary place.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
