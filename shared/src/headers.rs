//! Names of the NATS headers that Stepwell reads and writes.

/// On a message to EVENTS: a subject on which the sender wants to be told what became of it, as an
/// [`crate::api::Verdict`]. JetStream's own acknowledgement says only that the message is stored.
pub const ANSWER_TO: &str = "Stepwell-Answer-To";

/// On a message that is one part of a larger body: `<index>/<count>`, from 1.
pub const CHUNK: &str = "Stepwell-Chunk";

/// On a message that is several bodies: see [`crate::pack::PackIndex`].
pub const PACK: &str = "Stepwell-Pack";

/// On an activity task that may have been on the queue before: whoever gets it asks what was reported of the attempt
/// before beginning it. JetStream forgets the ids of tasks that are done when its server is killed.
pub const REPEATED: &str = "Stepwell-Repeated";

/// JetStream: the id under which repeats are recognised within the stream's window.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";

/// JetStream: the publish is refused unless the subject's last message has this sequence.
pub const EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
