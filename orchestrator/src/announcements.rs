//! Listening to workers that make themselves known.

use futures_util::StreamExt as _;
use stepwell_shared::announce::Announcement;
use stepwell_shared::encoding::decode;
use stepwell_shared::subject;

use crate::dispatcher::Request;
use crate::ground::Ground;

/// Listens to workers, whether this process owns a partition or not. Returns when the connection is closed.
pub(crate) async fn listen_to_workers(ground: Ground) {
    let subject = subject::announce(ground.connection.namespace());
    let mut announcements = match ground.connection.client().subscribe(subject).await {
        Ok(announcements) => announcements,
        Err(error) => return tracing::error!(%error, "announcements of workers cannot be heard"),
    };
    while let Some(message) = announcements.next().await {
        let announcement: Announcement = match decode(&message.payload) {
            Ok(announcement) => announcement,
            Err(error) => {
                tracing::debug!(%error, "an announcement cannot be read");
                continue;
            }
        };
        if !ground.workers.announced(announcement.clone()) {
            continue;
        }
        for shell in ground.owned.all() {
            let _ = shell.requests.send(Request::WorkerAppeared(announcement.clone())).await;
        }
    }
}
