//! Every bound of the wire format, each with its reason.

/// Longest workflow id, in UTF-8 bytes. Escaped it triples, and subject plus stream prefix must stay
/// far below the server's 4 KiB protocol line.
pub const MAX_WORKFLOW_ID_BYTES: usize = 200;

/// Longest type, queue, signal or query name, in bytes. Names become subject tokens and metric labels.
pub const MAX_NAME_BYTES: usize = 128;

/// Longest request id, in bytes. It is a key in the `idempotency` bucket.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// Largest single user payload: an input, a result, a signal, a query answer, heartbeat details.
/// Half of the server's default 1 MiB message, so that a payload always fits with its envelope.
pub const MAX_PAYLOAD_BYTES: usize = 512 * 1024;

/// Largest body of one NATS message that Stepwell publishes. Larger records and replies are sent as a
/// chain of chunks. Below the server's default `max_payload` of 1 MiB, leaving room for headers.
pub const MAX_MESSAGE_BYTES: usize = 900 * 1024;

/// Most chunks in one chain. 256 x 900 KiB are 225 MiB, more than one record may have: see
/// [`MAX_RECORD_EVENT_BYTES`] and [`MAX_TURN_COMMAND_BYTES`].
pub const MAX_CHUNKS: usize = 256;

/// Most bodies in one pack, see [`crate::pack`]. What a message costs is spread over so many that more gain nothing.
pub const MAX_PACK: usize = 64;

/// Most bytes of a body that goes into a pack: what is larger costs more than its message.
pub const MAX_PACKED_BODY_BYTES: usize = 8 * 1024;

// A pack fits into one message.
const _: () = assert!(MAX_PACK * MAX_PACKED_BODY_BYTES <= MAX_MESSAGE_BYTES);

/// Bytes of events with which a record is full; what waits comes with the next one. A record is written,
/// read and replayed as one piece. The arrival that fills it may bring it to twice as much (timeouts that
/// are due together), and the ends of [`MAX_PENDING_STEPS`] steps may follow from it.
pub const MAX_RECORD_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// Most bytes of commands that workflow code may emit in one turn: half of what a chain holds, so that
/// they and the events fit into one record also where a server takes smaller messages, as long as it takes
/// [`MAX_PAYLOAD_BYTES`] with an envelope.
pub const MAX_TURN_COMMAND_BYTES: usize = 128 * 1024 * 1024;

/// Largest failure with everything that caused it: one payload of details, and texts. It is a part of
/// bodies that must fit into one message, such as the summary of a run.
pub const MAX_FAILURE_BYTES: usize = 768 * 1024;

// What a record may have at most fits into one chain.
const _: () = assert!(
    3 * MAX_RECORD_EVENT_BYTES + MAX_TURN_COMMAND_BYTES <= MAX_CHUNKS * (MAX_PAYLOAD_BYTES + 96 * 1024)
);

/// Most bytes of events handed to workflow code in one workflow task, unless a single one is larger. What
/// waits beyond it comes with the next task: a task is one message.
pub const MAX_TURN_EVENT_BYTES: usize = 640 * 1024;

/// Most bytes of payloads in one activity task, which is one message: heartbeat details of the attempt before
/// are left out above it, and the action's output from the input of a compensation.
pub const MAX_TASK_PAYLOAD_BYTES: usize = 768 * 1024;

/// Most events handed over in one workflow task; bounds the work between two commits.
pub const MAX_TURN_EVENTS: usize = 4_096;

/// Most commands that workflow code may emit in one turn.
pub const MAX_TURN_COMMANDS: usize = 20_000;

/// Most activities and timers a run may have pending at once. Bounds the memory of one run.
pub const MAX_PENDING_STEPS: usize = 50_000;

/// How many request ids of signals a run remembers in order to recognise repeats.
pub const MAX_REMEMBERED_REQUESTS: usize = 10_000;

/// Longest text for people that is recorded, in bytes: a failure's message and type, a stall's message, a
/// reason. Longer text is cut.
pub const MAX_FAILURE_TEXT_BYTES: usize = 16 * 1024;

/// Deepest chain of failure causes that is recorded; deeper ones are cut.
pub const MAX_FAILURE_DEPTH: usize = 16;

/// Partitions of a namespace that is made without saying how many. The number is fixed from then on.
pub const DEFAULT_PARTITIONS: u32 = 16;

/// How much of a rejected message's body is kept for a person to look at, in bytes.
pub const MAX_REJECTION_PREVIEW_BYTES: usize = 1_024;

/// Longest duration in any message: 100 years in milliseconds. Keeps sums of times inside `u64`.
pub const MAX_DURATION_MS: u64 = 100 * 366 * 24 * 60 * 60 * 1_000;
