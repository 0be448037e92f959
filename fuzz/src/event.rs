//! One message of the EVENTS stream as anybody may publish it: the first line is the subject, the rest the
//! body, which in a pack of reports begins with a line that is its header. It is read as the orchestrator reads it and
//! taken into a run that waits for many things.

use stepwell_orchestrator_core::{Arrival, Commit, Input, Workflow, decode_event, is_pack, unpack};
use stepwell_shared::command::{Command, Compensation, RunActivity};
use stepwell_shared::encoding::{decode, encode};
use stepwell_shared::history::{Record, RunStarted, StallKind};
use stepwell_shared::ids::{Name, RunId, WorkflowId};
use stepwell_shared::limits::MAX_PACK;
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;

/// The token that counts as genuine.
const TOKEN: &str = "token";

/// A refusal names what was found: so many times the message, and a sentence.
const MOST_REFUSAL_BYTES: usize = 2_048;

const PARTITIONS: u32 = 16;

const NOW: u64 = 1_700_000_000_000;

pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let Ok(subject) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let body = parts.next().unwrap_or_default();
    if is_pack(subject) {
        return check_pack(subject, body);
    }
    check_event(subject, body);
}

fn check_pack(subject: &str, data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let header = std::str::from_utf8(parts.next().unwrap_or_default()).ok();
    let body = parts.next().unwrap_or_default();
    let unpacked = unpack(subject, header, body, PARTITIONS);
    assert_eq!(
        unpacked,
        unpack(subject, header, body, PARTITIONS),
        "the same bytes are read in the same way"
    );
    let Ok(reports) = unpacked else { return };
    assert!((1..=MAX_PACK).contains(&reports.len()));
    for (place, report) in reports.iter().enumerate() {
        assert_eq!(report.place, place);
        let body = &body[report.body.clone()];
        match &report.subject {
            Ok(subject) => check_event(subject, body),
            Err(refusal) => assert!(refusal.message.len() <= 4 * data.len() + MOST_REFUSAL_BYTES),
        }
    }
}

fn check_event(subject: &str, body: &[u8]) {
    let read = || decode_event(subject, body, |token, _, _, _| token == TOKEN, || run_id("run-2"));
    let decoded = read();
    assert_eq!(decoded, read(), "the same bytes are read in the same way");
    match decoded {
        Ok(decoded) => take_in(decoded.input),
        Err(refusal) => {
            assert!(!refusal.message.is_empty());
            let most = 4 * (subject.len() + body.len()) + MOST_REFUSAL_BYTES;
            assert!(refusal.message.len() <= most, "a refusal of {} bytes", refusal.message.len());
        }
    }
}

fn take_in(input: Input) {
    let (mut workflow, mut records) = open_run();
    let ruling = workflow.receive(&Arrival { sequence: Some(2), input: input.clone() }, NOW + 1);
    record(&mut workflow, &mut records);
    if ruling.is_rejection() {
        assert_eq!(records.len(), 1, "what is refused changes nothing");
    }
    let mut rebuilt = new();
    for record in &records {
        rebuilt.apply(record).unwrap_or_else(|error| panic!("{error}: {record:?}"));
    }
    assert_eq!(rebuilt.fingerprint(), workflow.fingerprint());
    // Also where nothing is open.
    let mut idle = new();
    let _ = idle.receive(&Arrival { sequence: Some(1), input }, NOW);
    record(&mut idle, &mut Vec::new());
}

/// A run with an activity that can be undone, a timer, and code that has answered once.
fn open_run() -> (Workflow, Vec<Record>) {
    let (mut workflow, mut records) = (new(), Vec::new());
    let start = RunStarted {
        workflow_type: name("order"),
        queue: name("orders"),
        input: Payload::null(),
        request_id: Some("first".into()),
        run_timeout_ms: None,
        execution_timeout_ms: None,
    };
    let start = Input::Start { start: Box::new(start), run_id: run_id("run-1") };
    let ruling = workflow.receive(&Arrival { sequence: Some(1), input: start }, NOW);
    assert!(!ruling.is_rejection());
    let request = workflow.turn_request(NOW).expect("the code is asked");
    let options = ActivityOptions { start_to_close_ms: Some(1_000), ..ActivityOptions::default() };
    let undo =
        Compensation { activity_type: name("refund"), queue: name("payments"), options: options.clone() };
    let run = RunActivity {
        seq: 1,
        activity_type: name("charge"),
        queue: name("payments"),
        input: Payload::null(),
        options,
        compensation: Some(Box::new(undo)),
    };
    let commands = vec![Command::RunActivity(run), Command::StartTimer { seq: 2, delay_ms: 60_000 }];
    workflow.answer(commands, None, request.events.len()).expect("a valid turn");
    record(&mut workflow, &mut records);
    (workflow, records)
}

fn record(workflow: &mut Workflow, records: &mut Vec<Record>) {
    workflow.advance(NOW + 1);
    if workflow.turn_request(NOW + 1).is_some() {
        workflow.stall(StallKind::NoWorker, "nobody".into(), NOW + 1);
    }
    if let Some(Commit { record, .. }) = workflow.seal() {
        let stored = decode::<Record>(&encode(&record)).expect("a record can be read");
        assert_eq!(stored, record);
        records.push(stored);
    }
}

fn new() -> Workflow {
    Workflow::new(WorkflowId::new("order 7").expect("a valid id"))
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

fn run_id(text: &str) -> RunId {
    RunId::new(text).expect("a valid id")
}
