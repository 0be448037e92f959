use super::*;

const WORKER: u32 = 10;
const KILLED: u32 = 20;

/// A run in which step 1 was executed once, step 2 was lost with its worker and repeated, step 3 failed
/// once and was repeated, and step 3 was undone.
fn history() -> RunHistory {
    let recorded = |activity: &str, at_ms, last_attempt, failed: &[(u32, FailureKind)]| Recorded {
        activity: activity.to_owned(),
        asked: true,
        ended: Some((at_ms, true)),
        last_attempt,
        failed: failed.iter().copied().collect(),
    };
    let steps = [
        (StepId::Action(1), recorded("fetch", 100, 1, &[])),
        (StepId::Action(2), recorded("embed", 200, 2, &[(1, FailureKind::Lost)])),
        (StepId::Action(3), recorded("charge", 300, 2, &[(1, FailureKind::Application)])),
        (StepId::Undo(3), recorded("refund", 400, 1, &[])),
    ];
    RunHistory { workflow_id: "w".into(), run_id: "r".into(), steps: steps.into(), workers: Vec::new() }
}

fn entry(at_ms: u64, pid: u32, step: &str, attempt: u32, phase: Phase) -> Entry {
    let activity = match step {
        "1" => "fetch",
        "2" => "embed",
        "3" => "charge",
        _ => "refund",
    };
    let (workflow_id, run_id) = ("w".into(), "r".into());
    Entry { at_ms, pid, workflow_id, run_id, step: step.into(), attempt, activity: activity.into(), phase }
}

fn ledger() -> Vec<Entry> {
    use Phase::{Failed, Finished, Started};
    vec![
        entry(90, WORKER, "1", 1, Started),
        entry(95, WORKER, "1", 1, Finished),
        entry(110, KILLED, "2", 1, Started),
        entry(190, WORKER, "2", 2, Started),
        entry(195, WORKER, "2", 2, Finished),
        entry(210, WORKER, "3", 1, Started),
        entry(220, WORKER, "3", 1, Failed),
        entry(230, WORKER, "3", 2, Started),
        entry(240, WORKER, "3", 2, Finished),
        entry(310, WORKER, "undo-3", 1, Started),
        entry(320, WORKER, "undo-3", 1, Finished),
    ]
}

fn check(ledger: &[Entry]) -> Vec<String> {
    findings(&[history()], ledger, &BTreeSet::from([KILLED]))
}

#[test]
fn an_honest_ledger_has_no_findings() {
    assert_eq!(check(&ledger()), Vec::<String>::new());
}

#[test]
fn a_lost_attempt_may_have_finished_or_never_begun() {
    let mut finished = ledger();
    finished.push(entry(120, KILLED, "2", 1, Phase::Finished));
    assert_eq!(check(&finished), Vec::<String>::new());
    let mut never = ledger();
    never.retain(|entry| entry.pid != KILLED);
    assert_eq!(check(&never), Vec::<String>::new());
}

/// Each doctored ledger must be found out, and for the right reason.
#[test]
fn doctored_ledgers_are_found_out() {
    let doctored = |change: &dyn Fn(&mut Vec<Entry>), reason: &str| {
        let mut ledger = ledger();
        change(&mut ledger);
        let findings = check(&ledger);
        assert!(
            findings.iter().any(|finding| finding.contains(reason)),
            "expected {reason:?}, found {findings:?}"
        );
    };
    doctored(
        &|ledger| ledger.push(entry(400, WORKER, "1", 2, Phase::Started)),
        "began after the end of the step had been recorded",
    );
    doctored(
        &|ledger| ledger.push(entry(99, WORKER, "1", 2, Phase::Started)),
        "but the step ended with attempt 1",
    );
    doctored(
        &|ledger| ledger.push(entry(99, WORKER, "1", 1, Phase::Started)),
        "attempt 1 was executed 2 times",
    );
    doctored(
        &|ledger| ledger.push(entry(330, WORKER, "undo-3", 2, Phase::Started)),
        "but the step ended with attempt 1",
    );
    doctored(&|ledger| ledger[2].pid = WORKER, "its process was not killed");
    doctored(&|ledger| ledger[6].phase = Phase::Finished, "its activity did not say so");
    doctored(&|ledger| drop(ledger.remove(1)), "is recorded, but it was not executed");
    doctored(&|ledger| ledger[0].activity = "charge".into(), "the history asks for fetch");
    doctored(&|ledger| ledger.push(entry(1, WORKER, "9", 1, Phase::Started)), "no history asks for it");
}

#[test]
fn an_attempt_that_was_followed_without_a_failure_is_found_out() {
    let mut history = history();
    history.steps.get_mut(&StepId::Action(2)).unwrap().failed.clear();
    let findings = findings(&[history], &ledger(), &BTreeSet::from([KILLED]));
    assert!(findings.iter().any(|finding| finding.contains("has no failure of it")), "{findings:?}");
}

#[test]
fn a_compensation_that_nobody_asked_for_is_found_out() {
    let mut history = history();
    history.steps.get_mut(&StepId::Undo(3)).unwrap().asked = false;
    let findings = findings(&[history], &ledger(), &BTreeSet::from([KILLED]));
    assert!(findings.iter().any(|finding| finding.contains("never put on its queue")), "{findings:?}");
}

#[test]
fn steps_are_read_off_the_records() {
    let record = |index: u64, json: &str| -> Record {
        serde_json::from_str(&format!(
            r#"{{"v": 1, "run_id": "r", "index": {index}, "at_ms": {at_ms}, "through": {index}, {json}}}"#,
            at_ms = index * 100
        ))
        .unwrap()
    };
    let records = [
        record(
            1,
            r#""turn": {"commands": [
            {"run_activity": {"seq": 1, "type": "charge", "queue": "q", "input": null, "options": {},
             "compensation": {"type": "refund", "queue": "q", "options": {}}}}], "worker": "w1", "delivered": 0}"#,
        ),
        record(
            2,
            r#""events": [{"attempt_failed": {"step": "1", "attempt": 1, "retry_at_ms": 0,
            "failure": {"kind": "lost", "type": "WorkerLost", "message": ""}}}]"#,
        ),
        record(
            3,
            r#""events": [{"activity_completed": {"seq": 1, "attempt": 2, "result": null}}],
            "turn": {"commands": [], "worker": "w2", "delivered": 1}"#,
        ),
        record(4, r#""events": [{"compensation_started": {"seq": 1}}]"#),
        record(
            5,
            r#""events": [{"compensation_completed": {"seq": 1}}],
            "turn": {"commands": [], "worker": "w2", "delivered": 0}"#,
        ),
    ];
    let history = RunHistory::new("w", &records);
    let charge = &history.steps[&StepId::Action(1)];
    assert_eq!(
        (charge.activity.as_str(), charge.ended, charge.last_attempt),
        ("charge", Some((300, true)), 2)
    );
    assert_eq!(charge.failed, BTreeMap::from([(1, FailureKind::Lost)]));
    let refund = &history.steps[&StepId::Undo(1)];
    assert_eq!(
        (refund.activity.as_str(), refund.ended, refund.last_attempt),
        ("refund", Some((500, true)), 1)
    );
    assert_eq!(history.workers, ["w1", "w2"]);
}
