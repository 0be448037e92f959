//! Waiting for something to be so: looks again and again until it is, and gives up only when something is
//! broken. Never waits for a fixed time.

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest wait for anything. Only a fault makes a test wait so long; it is far longer than the longest
/// thing that is waited for, a task of a dead worker that is handed on after 15 s.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and returns it.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same for what can be seen without waiting.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || std::future::ready(holds().then_some(()))).await;
}

/// Waits for the end of `work`.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
