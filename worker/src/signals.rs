//! The signals that end a process: the first one asks it to end, the second one ends it.

use tokio_util::sync::CancellationToken;

/// What a process that was interrupted twice ends with.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by SIGTERM or ctrl-c. A second one exits the process at once.
pub(crate) fn shutdown_token() -> CancellationToken {
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        signal().await;
        tracing::info!("shutting down; a second signal ends the process at once");
        asked.cancel();
        signal().await;
        tracing::warn!("ending at once");
        std::process::exit(INTERRUPTED);
    });
    token
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}
