//! The places before and after everything that is published or acknowledged, where a process of the tests can be made
//! to die. Only in builds with the feature `sabotage`, which nothing but a program of the tests has; in all others
//! [`at`] does nothing.

macro_rules! boundaries {
    ($($(#[$what:meta])* $list:ident: $($name:ident),+;)+) => {
        /// A place where a process can die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Boundary { $($($name),+),+ }

        impl Boundary {
            $($(#[$what])* pub const $list: &[Self] = &[$(Self::$name),+];)+

            /// What it is called.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$name => stringify!($name)),+),+ }
            }
        }
    };
}

// `Sent`: given to the connection, and perhaps at the server. `Stored`: the server has said so.
boundaries! {
    /// Where orchestrators can die. `Closing` is the summary of a run that is closed, `Notice` the word of it;
    /// events are confirmed when everything that they led to is, and done when that is noted.
    OF_ORCHESTRATORS:
        BeforeAppend, AppendSent, AppendStored,
        BeforeTask, TaskSent, TaskStored,
        BeforeSummary, SummarySent, SummaryStored,
        BeforeClosing, ClosingSent, ClosingStored,
        BeforeNotice, NoticeSent,
        BeforeTimer, TimerSent, TimerStored,
        BeforeTimerRemoval, TimerRemovalSent, TimerRemovalStored,
        BeforeRequestId, RequestIdSent, RequestIdStored,
        BeforeCancellation, CancellationSent,
        BeforeVerdict, VerdictSent,
        BeforeRejection, RejectionStored,
        BeforeTurn, TurnAnswered,
        EventRead, EventsConfirmed, EventsDone,
        BeforeCheckpoint, CheckpointStored,
        BeforeJoining, Joined,
        BeforeRenewal, Renewed,
        BeforeLease, LeaseStored,
        BeforeRelease, Released,
        BeforeLeaving, Left;
    /// Where workers can die. `Ack` is any word to the server about a task; a worker that keeps a task alive says
    /// that it is still at it.
    OF_WORKERS:
        BeforeAnnouncement, AnnouncementSent,
        TurnTaken, TurnMade, TurnSent,
        TaskTaken, BeforeCode, CodeDone,
        BeforeReport, ReportSent, ReportStored,
        BeforeAck, AckSent,
        BeforeKeepingAlive, KeptAlive,
        BeforeHeartbeat, HeartbeatStored;
}

/// Names the boundary at which the process dies, and which time that it gets there: `AppendStored:3`.
pub const VARIABLE: &str = "STEPWELL_DIE_AT";

/// What a process writes to its standard error before it dies.
#[must_use]
pub fn last_words(boundary: Boundary, time: u32) -> String {
    format!("dying at {}:{time}", boundary.name())
}

/// The process gets to a boundary, and dies there if it is to.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub const fn at(_boundary: Boundary) {}

/// The process gets to a boundary, and dies there if it is to.
#[cfg(feature = "sabotage")]
pub fn at(boundary: Boundary) {
    use std::io::Write as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WHERE: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static TIMES: AtomicU32 = AtomicU32::new(0);
    let wanted = WHERE.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, time) = text.split_once(':')?;
        Some((name.to_owned(), time.parse().ok()?))
    });
    let Some((name, time)) = wanted else { return };
    if name != boundary.name() || TIMES.fetch_add(1, Ordering::SeqCst) + 1 != *time {
        return;
    }
    let _ = writeln!(std::io::stderr(), "{}", last_words(boundary, *time));
    // At this place and no later: becoming another program ends all threads at once, and that one kills itself.
    let error = Command::new("/bin/sh").args(["-c", "kill -KILL $$"]).exec();
    panic!("cannot die: {error}");
}
