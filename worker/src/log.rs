//! Logging that says nothing twice: what workflow code logs is muted while it retraces what is recorded.
//!
//! Two ways lead there. The macros [`workflow_info!`](crate::workflow_info) and its siblings ask the
//! context and work with every subscriber. The filter [`not_replaying`] mutes the plain `tracing` macros in
//! workflow code, too; [`init`] installs a subscriber that has it.

use std::cell::Cell;
use std::io::IsTerminal;

use tracing_subscriber::filter::{DynFilterFn, EnvFilter, FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged when `RUST_LOG` says nothing. What the NATS client has to say of its connection, Stepwell
/// says itself.
const DEFAULT_LEVEL: &str = "info,async_nats=warn";

/// What the NATS client logs at most: beyond it are messages, with payloads and task tokens in them.
const NO_MESSAGES: (&str, LevelFilter) = ("async_nats", LevelFilter::INFO);

thread_local! {
    static REPLAYING: Cell<bool> = const { Cell::new(false) };
}

/// While this lives, the thread replays.
#[derive(Debug)]
pub(crate) struct Replaying(bool);

impl Replaying {
    pub(crate) fn enter() -> Self {
        Self(REPLAYING.replace(true))
    }
}

impl Drop for Replaying {
    fn drop(&mut self) {
        REPLAYING.set(self.0);
    }
}

/// A filter for a layer of your own subscriber: lets nothing through while workflow code replays.
///
/// ```
/// use tracing_subscriber::layer::{Layer, SubscriberExt};
///
/// let subscriber = tracing_subscriber::registry()
///     .with(tracing_subscriber::fmt::layer().with_filter(stepwell::log::not_replaying()));
/// # drop(subscriber);
/// ```
#[must_use]
pub fn not_replaying<S>() -> DynFilterFn<S> {
    DynFilterFn::new(|_, _| !REPLAYING.get())
}

/// Logs to standard error, at the level that `RUST_LOG` names or `info`, without what is replayed. In
/// colour on a terminal, unless `NO_COLOR` is set. The NATS client's debug and trace messages are left out: payloads and
/// secrets are in them. Does nothing when a subscriber is installed.
pub fn init() {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LEVEL));
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(color);
    let no_messages = Targets::new().with_targets([NO_MESSAGES]).with_default(LevelFilter::TRACE);
    let layer = layer.with_filter(not_replaying().and(no_messages));
    let _ = tracing_subscriber::registry().with(level).with(layer).try_init();
}

/// Logs at a level from workflow code, unless it is replaying.
#[doc(hidden)]
#[macro_export]
macro_rules! __workflow_log {
    ($level:ident, $context:expr, $($arguments:tt)+) => {
        if !$crate::WorkflowContext::is_replaying(&$context) {
            $crate::__private::tracing::$level!($($arguments)+);
        }
    };
}

/// Logs an error from workflow code, unless it is replaying: `workflow_error!(ctx, "…", …)`.
#[macro_export]
macro_rules! workflow_error {
    ($context:expr, $($arguments:tt)+) => { $crate::__workflow_log!(error, $context, $($arguments)+) };
}

/// Logs a warning from workflow code, unless it is replaying: `workflow_warn!(ctx, "…", …)`.
#[macro_export]
macro_rules! workflow_warn {
    ($context:expr, $($arguments:tt)+) => { $crate::__workflow_log!(warn, $context, $($arguments)+) };
}

/// Logs from workflow code, unless it is replaying.
///
/// ```
/// use stepwell::prelude::*;
///
/// #[workflow]
/// async fn greet(ctx: WorkflowContext, name: String) -> Result<(), WorkflowError> {
///     workflow_info!(ctx, name, "greeting {name}");
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! workflow_info {
    ($context:expr, $($arguments:tt)+) => { $crate::__workflow_log!(info, $context, $($arguments)+) };
}

/// Logs details from workflow code, unless it is replaying: `workflow_debug!(ctx, "…", …)`.
#[macro_export]
macro_rules! workflow_debug {
    ($context:expr, $($arguments:tt)+) => { $crate::__workflow_log!(debug, $context, $($arguments)+) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn replayed_logs_are_muted() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer =
            tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_filter(not_replaying());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for replaying in [true, false, true] {
                let _replaying = replaying.then(Replaying::enter);
                tracing::info!("said while replaying: {replaying}");
            }
        });
        let said = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("said while replaying: false"), "{said}");
    }
}
