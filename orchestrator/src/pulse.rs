//! A thread and a connection of their own, on which this process says that it is alive. Thousands of runs that want
//! something at once keep a thread busy for longer than a lease allows, and one that shares its processor with others
//! even more so: who is only slow must not be taken for dead, or the next one has all that work and is slow in turn.
//!
//! It says so only as long as the rest of the process shows that it goes on, and that its connection does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stepwell_connection::{ConnectError, Connection, ConnectionOptions};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long the rest of the process may show nothing, however long the lease is. It does with every renewal that it reads
/// of itself; whoever does not for so long hangs, or is cut off, and others should have the work. Much longer than a herd
/// of runs keeps the thread of the work busy.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// The thread. Cheap to clone; it ends with the last clone.
#[derive(Clone)]
pub(crate) struct Pulse {
    handle: Handle,
    connection: Connection,
    signs: Signs,
    _end: Arc<DropGuard>,
}

/// When the rest of the process was seen to go on. All clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Signs(Arc<Mutex<Instant>>);

impl Pulse {
    /// Starts the thread and connects.
    pub(crate) async fn start(options: &ConnectionOptions, name: &str) -> Result<Self, ConnectError> {
        let (options, name) = (options.clone(), format!("{name} pulse"));
        let end = CancellationToken::new();
        let ended = end.clone();
        let (sender, started) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system gives a thread what it needs");
        let thread = std::thread::Builder::new().name("pulse".into()).spawn(move || {
            runtime.block_on(async {
                let connected = options.connect(&name).await;
                let connected = connected.map(|connection| (Handle::current(), connection));
                if sender.send(connected).is_ok() {
                    ended.cancelled().await;
                }
            });
        });
        thread.expect("the system gives a process another thread");
        let (handle, connection) = started.await.expect("the thread says how it went")?;
        Ok(Self { handle, connection, signs: Signs::new(), _end: Arc::new(end.drop_guard()) })
    }

    /// The connection, whose work is done on the thread.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// For the rest of the process to show that it goes on.
    pub(crate) fn signs(&self) -> &Signs {
        &self.signs
    }

    /// Runs something on the thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(work)
    }
}

impl Signs {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// The rest of the process goes on.
    pub(crate) fn show(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the rest of the process has shown nothing for too long.
    pub(crate) fn silent(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > LONGEST_SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_noticed_and_ends_with_a_sign() {
        let long_ago = Instant::now().checked_sub(LONGEST_SILENCE + Duration::from_secs(1)).unwrap();
        let signs = Signs(Arc::new(Mutex::new(long_ago)));
        assert!(signs.silent());
        signs.clone().show();
        assert!(!signs.silent());
    }
}
