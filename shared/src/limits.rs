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

/// Most chunks in one chain: 256 x 900 KiB is more than a workflow task may produce.
pub const MAX_CHUNKS: usize = 256;

/// Most bytes of payload handed to workflow code in one workflow task. What waits beyond it comes with
/// the next task, so a burst of large results does not build one giant message.
pub const MAX_TURN_EVENT_BYTES: usize = 640 * 1024;

/// Most events handed over in one workflow task; bounds the work between two commits.
pub const MAX_TURN_EVENTS: usize = 4_096;

/// Most commands that workflow code may emit in one turn.
pub const MAX_TURN_COMMANDS: usize = 20_000;

/// Most activities and timers a run may have pending at once. Bounds the memory of one run.
pub const MAX_PENDING_STEPS: usize = 50_000;

/// How many request ids of signals a run remembers in order to recognise repeats.
pub const MAX_REMEMBERED_REQUESTS: usize = 10_000;

/// Longest failure message and failure type that is recorded, in bytes; longer text is cut.
pub const MAX_FAILURE_TEXT_BYTES: usize = 16 * 1024;

/// Deepest chain of failure causes that is recorded; deeper ones are cut.
pub const MAX_FAILURE_DEPTH: usize = 16;

/// Most partitions a namespace may have. The number is fixed when the namespace is made.
pub const DEFAULT_PARTITIONS: u32 = 16;

/// How much of a rejected message's body is kept for a person to look at, in bytes.
pub const MAX_REJECTION_PREVIEW_BYTES: usize = 1_024;

/// Longest duration in any message: 100 years in milliseconds. Keeps sums of times inside `u64`.
pub const MAX_DURATION_MS: u64 = 100 * 366 * 24 * 60 * 60 * 1_000;
