//! Every body that crosses a process boundary: what can be read is written so that it reads the same, and
//! is not much larger than it was. The first byte says what the rest is read as.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::announce::Announcement;
use stepwell_shared::api::{
    ApiAnswer, CompensationRequest, Description, HistoryAnswer, ListAnswer, ListRequest, QueryAnswer,
    QueryRequest, Receipt, RejectedAnswer, RunRequest, SignalRequest, StartRequest, StopRequest, Verdict,
    WorkersAnswer,
};
use stepwell_shared::encoding::{decode, decode_unversioned, encode};
use stepwell_shared::history::Record;
use stepwell_shared::message::{
    CompensationMessage, ReportMessage, SignalMessage, StartMessage, StopMessage,
};
use stepwell_shared::payload::Payload;
use stepwell_shared::rejection::Rejection;
use stepwell_shared::summary::RunSummary;
use stepwell_shared::task::{
    ActivityTask, CancelActivity, HeldTasks, RollCall, UndoInput, WorkflowTask, WorkflowTaskReply,
};

/// What is written is at most so many times as large as what was read: an activity without options is
/// written with all of them.
const MOST_GROWTH: usize = 12;

/// Room for the fields that are written although they were not there.
const OWN_FIELDS: usize = 1_024;

/// In the order of their letters, from `A` on.
const KINDS: [fn(&[u8]); 31] = [
    versioned::<StartMessage>,
    versioned::<SignalMessage>,
    versioned::<StopMessage>,
    versioned::<CompensationMessage>,
    versioned::<ReportMessage>,
    versioned::<Record>,
    versioned::<ActivityTask>,
    versioned::<WorkflowTask>,
    versioned::<WorkflowTaskReply>,
    versioned::<CancelActivity>,
    versioned::<RollCall>,
    versioned::<HeldTasks>,
    versioned::<Announcement>,
    versioned::<RunSummary>,
    versioned::<Rejection>,
    unversioned::<UndoInput>,
    unversioned::<StartRequest>,
    unversioned::<SignalRequest>,
    unversioned::<StopRequest>,
    unversioned::<CompensationRequest>,
    unversioned::<QueryRequest>,
    unversioned::<RunRequest>,
    unversioned::<ListRequest>,
    unversioned::<Verdict>,
    unversioned::<ApiAnswer<Receipt>>,
    unversioned::<ApiAnswer<Description>>,
    unversioned::<ApiAnswer<HistoryAnswer>>,
    unversioned::<ApiAnswer<ListAnswer>>,
    unversioned::<ApiAnswer<QueryAnswer>>,
    unversioned::<ApiAnswer<RejectedAnswer>>,
    unversioned::<ApiAnswer<WorkersAnswer>>,
];

pub(crate) fn check(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    KINDS[usize::from(kind.wrapping_sub(b'A')) % KINDS.len()](body);
}

fn versioned<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) {
    let read = decode::<T>(body);
    // A body that begins as ours do is read in a quicker way; it must not be read in another one.
    let slowly = decode::<T>(&[b" ", body].concat());
    match (&read, &slowly) {
        (Ok(read), Ok(slowly)) => assert_eq!(read, slowly),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("read as {read:?} and as {slowly:?}"),
    }
    if let Ok(value) = read {
        written_again(body, &value, |body| decode(body).expect("what was written can be read"));
    }
}

fn unversioned<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) {
    if let Ok(value) = decode_unversioned::<T>(body) {
        let read = |body: &[u8]| decode_unversioned(body).expect("what was written can be read");
        written_again(body, &value, read);
    }
}

fn written_again<T: Serialize + PartialEq + Debug>(body: &[u8], value: &T, read: impl Fn(&[u8]) -> T) {
    let written = encode(value);
    let again = read(&written);
    assert_eq!(*value, again, "from {}", String::from_utf8_lossy(&written));
    assert_eq!(written, encode(&again));
    let most = body.len() * MOST_GROWTH + OWN_FIELDS;
    assert!(written.len() <= most, "{} bytes were written of {}", written.len(), body.len());
    // What is carried and not read stays JSON.
    let _: Payload = serde_json::from_slice(&written).expect("what was written is JSON");
}
