//! Makes the worker known: when it begins, every few seconds, and when it leaves.

use std::sync::Arc;
use std::time::Duration;

use stepwell_connection::Connection;
use stepwell_connection::crash::{self, Boundary};
use stepwell_shared::announce::{ANNOUNCE_INTERVAL_MS, Announcement};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::ids::{Name, WorkerId};
use stepwell_shared::subject;
use tokio::time::MissedTickBehavior;

use crate::registry::Registry;
use crate::slots::Slots;

/// What is said of the worker.
pub(crate) struct Announcer {
    pub(crate) connection: Connection,
    pub(crate) worker: WorkerId,
    pub(crate) queue: Name,
    pub(crate) registry: Arc<Registry>,
    pub(crate) host: String,
}

impl Announcer {
    /// Announces the worker until this is dropped. `slots` gives how many there are and how many are used.
    pub(crate) async fn run(&self, slots: impl Fn() -> (usize, usize)) {
        let mut ticks = tokio::time::interval(Duration::from_millis(ANNOUNCE_INTERVAL_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.say(slots(), false).await;
        }
    }

    /// Says it once.
    pub(crate) async fn say(&self, (slots, slots_used): (usize, usize), leaving: bool) {
        let announcement = Announcement {
            v: VERSION,
            worker: self.worker.clone(),
            queue: self.queue.clone(),
            workflows: self.registry.workflows(),
            activities: self.registry.activities(),
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            slots_used: u32::try_from(slots_used).unwrap_or(u32::MAX),
            host: self.host.clone(),
            leaving,
        };
        let subject = subject::announce(self.connection.namespace());
        crash::at(Boundary::BeforeAnnouncement);
        if let Err(error) = self.connection.client().publish(subject, encode(&announcement).into()).await {
            tracing::debug!(%error, "the worker could not be announced");
        }
        crash::at(Boundary::AnnouncementSent);
    }
}

/// Slots for an announcement.
pub(crate) fn count(slots: &Slots) -> (usize, usize) {
    (slots.total(), slots.used())
}

/// Host name and process id.
pub(crate) fn host() -> String {
    let name = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = name.unwrap_or_default();
    let name = if name.trim().is_empty() { "unknown" } else { name.trim() };
    format!("{name}/{}", std::process::id())
}
