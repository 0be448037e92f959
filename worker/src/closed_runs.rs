//! Attempts whose run is closed are told to stop. Orchestrators tell that once, when the run closes, and the word is lost
//! when nobody is connected at that moment: what runs for long is asked about, so that nothing goes on, and costs, for ever.
//! Of a run that is open nothing has to be asked: what it does not want any more it tells again until it has ended.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use stepwell_shared::api::AttemptRequest;
use stepwell_shared::ids::RunId;

use crate::activity_runner::ActivitySide;
use crate::orchestrators;

/// Shortest time between two looks, whatever the consumer's configuration says.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How many runs are asked about at the same time: orchestrators have other things to do.
const AT_ONCE: usize = 4;

/// Looks until it is dropped: as often as the server waits for a word about a task, at what has run for as long.
pub(crate) async fn look(side: Arc<ActivitySide>) {
    let mut ack_wait = side.ack_wait.subscribe();
    loop {
        let interval = (*ack_wait.borrow_and_update()).max(MIN_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            Ok(()) = ack_wait.changed() => continue,
        }
        let looks = stream::iter(side.running.runs(interval));
        looks.for_each_concurrent(AT_ONCE, |(run_id, request)| look_at(&side, run_id, request)).await;
    }
}

async fn look_at(side: &ActivitySide, run_id: RunId, request: AttemptRequest) {
    match orchestrators::run_closed(&side.connection, &request).await {
        Ok(false) => {}
        Ok(true) => {
            let told = side.running.cancel_run(&run_id);
            tracing::info!(workflow_id = request.id, %run_id, told, "the run of attempts is closed; they are told to stop");
        }
        Err(error) => {
            tracing::debug!(%error, %run_id, "it is not known whether the run of an attempt is closed")
        }
    }
}
