//! What processes and the server say to each other, and what happens to a process.

use stepwell_orchestrator_core::ownership::Snapshot;
use stepwell_shared::ids::Name;
use stepwell_shared::subject::{Bucket, Stream};

use crate::backend::{Acked, Entry, Handed, Message, Refusal, Stored};

/// A process. Numbers are not used again: a restarted process is a new one.
pub(crate) type Pid = usize;

/// A question that waits for its answer.
pub(crate) type Call = u64;

/// A question to the server.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Publish(Message),
    /// Events of a partition. Waits until there is something.
    Events {
        partition: u32,
        from: u64,
    },
    History {
        subject: String,
    },
    TaskIds,
    /// The sequence of a partition's last event.
    LastEvent(u32),
    /// What sleeps in a partition.
    Timers(u32),
    Get {
        bucket: Bucket,
        key: String,
    },
    /// Who is there and who has what. Whoever answers may be behind.
    Owners,
    /// The revision of a key of `owners` as it is now.
    Revision(String),
    /// Removes a key of `owners`, unless it was written after this revision.
    Remove {
        key: String,
        revision: u64,
    },
    /// Waits until there is a task.
    Pull {
        queue: Name,
    },
    Ack(Handed),
    InProgress(Handed),
    PurgeBelow {
        stream: Stream,
        sequence: u64,
    },
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Published(Result<Acked, Failed>),
    /// Messages, and how many more there are.
    Events(Vec<Stored>, usize),
    /// The messages of the subject, and the sequence of the last.
    History(Vec<Stored>, u64),
    /// The ids of the tasks that are there, and the sequence of the last.
    TaskIds(Vec<String>, u64),
    LastEvent(u64),
    Timers(Vec<(String, Vec<u8>)>),
    Value(Option<Entry>),
    Owners(Snapshot),
    /// 0 when there is none; nothing when nobody answered.
    Revision(Option<u64>),
    Task(Handed),
    /// A workflow task's reply; `None`: nobody listens. A late one finds nobody waiting.
    Turn(Option<Vec<u8>>),
    TimedOut,
}

/// Why a message is not known to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    Refused(Refusal),
    Unknown,
}

/// What happens to a process.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// Its beginning.
    Begin,
    Answer {
        call: Call,
        answer: Answer,
    },
    /// Something that it wanted to be told at this time.
    Alarm(Alarm),
    /// A workflow task for a worker.
    Task {
        body: Vec<u8>,
        from: Pid,
        call: Call,
    },
    /// A request to stop an activity, for a worker.
    CancelActivity(Vec<u8>),
    /// A worker is there.
    Announced {
        worker: String,
    },
    /// A lease has become free, or somebody came or went.
    OwnersChanged,
    /// An orchestrator is to end when everything is given back.
    Stop,
    /// Drop what is cached.
    Evict,
    /// For the network: a request arrives at the server.
    Arrives {
        from: Pid,
        call: Call,
        /// When it was sent, in the time of members.
        sent_ms: u64,
        request: Request,
    },
    /// For the network: tasks may be overdue.
    Overdue,
    /// For the simulation: a process begins.
    Spawn(Kind),
    /// For the simulation: something goes wrong.
    Fault,
    /// For the simulation: a hold is renewed, so many more times after this.
    Hold(u64),
    /// For the server: streams take messages again.
    Room(Stream),
}

/// Kinds of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Orchestrator,
    Worker,
}

/// What a process wants to be told when time has passed.
#[derive(Debug, Clone)]
pub(crate) enum Alarm {
    /// An orchestrator's turn as a member.
    Member(MemberAlarm),
    /// The turn of an engine of this number.
    Engine(u64, EngineAlarm),
    /// Go on with an activity.
    Activity(u64),
    /// Say that an activity is worked on.
    Progress(u64),
    /// Send the reports that wait to go together.
    Reports,
    /// Send reports again that were sent together.
    Pack(u64),
    /// A client's turn.
    Client(u64),
}

/// What a member wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberAlarm {
    /// Join again.
    Join,
    /// Renew, if nothing else was planned since.
    Renew(u64),
    /// The renewal of this call has no answer.
    RenewalLost(Call),
    /// Look who is there, while the term of this number lasts.
    Look(u64),
    /// The look of this call has no answer.
    LookLost(Call),
    /// What is under way at the partition of this keeper is waited for no longer.
    Drain(u64),
    /// The term of this number waits no longer for what it is to give back.
    Leave(u64),
}

/// What an engine wants to be told.
#[derive(Debug, Clone)]
pub(crate) enum EngineAlarm {
    /// Timers may be due.
    Timers,
    /// Checkpoints may have moved.
    Checkpoint,
    /// Summaries are compared with their histories.
    Compare,
    /// Go on with a workflow after a pause.
    Resume(String),
    /// Send an effect again.
    Repeat(u64),
}

/// Places where a process may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Confirmed,
    LeaseSent,
    LeaseTaken,
    Staged,
    AppendSent,
    AppendStored,
    BetweenEffects,
    EffectsSent,
    TimerWritten,
    CheckpointSent,
    TurnMade,
    ActivityBegun,
    EffectDone,
    ReportSent,
    ReportStored,
}
