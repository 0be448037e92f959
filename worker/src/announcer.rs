//! Making a worker known to orchestrators and people.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stepwell_connection::Connection;
use stepwell_shared::announce::{ANNOUNCE_INTERVAL_MS, Announcement};
use stepwell_shared::encoding::encode;
use stepwell_shared::subject;

/// Announces until it is aborted.
pub(crate) async fn announce_forever(
    connection: Connection,
    mut announcement: Announcement,
    busy: Arc<dyn Fn() -> usize + Send + Sync>,
) {
    loop {
        announcement.slots_used = u32::try_from(busy()).unwrap_or(u32::MAX);
        announce(&connection, &announcement).await;
        tokio::time::sleep(Duration::from_millis(ANNOUNCE_INTERVAL_MS)).await;
    }
}

/// Announces once.
pub(crate) async fn announce(connection: &Connection, announcement: &Announcement) {
    let subject = subject::announce(connection.namespace());
    if let Err(error) = connection.client().publish(subject, encode(announcement).into()).await {
        tracing::debug!(%error, "the worker could not announce itself; it will again");
    }
}

/// Host name and process id, for a person.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    format!("{}:{}", if name.is_empty() { "host" } else { name }, std::process::id())
}

/// How many activities run now.
pub(crate) fn busy(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}
