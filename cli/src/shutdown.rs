//! Ending on request: the first signal asks politely, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure};

/// The exit code of a process that ctrl-c ended, by convention.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by SIGINT, SIGTERM or SIGHUP.
pub(crate) fn on_signal() -> Result<CancellationToken, Failure> {
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot listen for signals: {error}")))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            if shutdown.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            shutdown.cancel();
        }
    });
    Ok(token)
}
