//! Whether everything is exact: what was confirmed, what was recorded and what was done outside are compared with
//! each other and with what was known in advance.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use stepwell::{Client, RunId, Status, WorkflowId};
use stepwell_connection::history::read_history;
use stepwell_orchestrator_core::Workflow;
use stepwell_shared::api::CompensationState;
use stepwell_shared::command::Command;
use stepwell_shared::encoding::decode;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::message::SignalMessage;
use stepwell_shared::rejection::Rejection;
use stepwell_shared::subject::{self, Bucket, EventAddress, Stream, parse_stored_event};
use stepwell_shared::summary::RunSummary;

use super::book::{Asked, Pages};
use super::effects::{Account, Accounts};
use super::faults::{Fault, Kind};
use super::rest::all_messages;
use crate::checks::{check_compensations, check_history, check_ledger, check_once, check_replay};
use crate::ledger::{Entry, Phase};
use stepwell_simulation::code::{SignalBody, code};
use stepwell_simulation::program::{Fate, Work};

/// How long after a process was stopped or cut off something may begin there that others have done meanwhile.
const STALE_MS: u64 = 25_000;

/// What is on the streams in the end.
pub(crate) struct Found {
    /// The records of each subject of HISTORY, by workflow id.
    pub(crate) histories: BTreeMap<String, Vec<Record>>,
    /// Signals that are on EVENTS still, by uid.
    stored_signals: BTreeSet<u64>,
    pub(crate) rejections: Vec<Rejection>,
    summaries: BTreeMap<String, RunSummary>,
}

impl Found {
    pub(crate) async fn read(client: &Client) -> Result<Self, String> {
        let connection = client.connection();
        let namespace = connection.namespace();
        let mut subjects = BTreeSet::new();
        for shard in connection.shards().await.map_err(|error| error.to_string())?.all() {
            let all =
                all_messages(client, Stream::History(shard), &subject::all_histories(namespace)).await?;
            subjects.extend(all.into_iter().map(|(subject, _, _)| subject));
        }
        let read = futures_util::stream::iter(subjects).map(async |subject| {
            let token = subject.split('.').nth(4).unwrap_or_default();
            let id = subject::unescape(token).unwrap_or_else(|| token.to_owned());
            let history = read_history(connection, &subject, 0).await;
            let history = history.map_err(|error| error.to_string())?;
            Ok::<_, String>((id, history.records.into_iter().map(|stored| stored.record).collect::<Vec<_>>()))
        });
        let read: Vec<Result<_, String>> = read.buffer_unordered(16).collect().await;
        let histories: BTreeMap<String, Vec<Record>> = read.into_iter().collect::<Result<_, _>>()?;
        let mut stored_signals = BTreeSet::new();
        let events = format!("stepwell.{namespace}.event.>");
        for (subject, _, body) in all_messages(client, Stream::Events, &events).await? {
            if let Ok((_, EventAddress::Signal { .. })) = parse_stored_event(&subject)
                && let Ok(message) = decode::<SignalMessage>(&body)
                && let Ok(body) = message.payload.decode::<SignalBody>()
            {
                stored_signals.insert(body.uid);
            }
        }
        let rejected = all_messages(client, Stream::Rejected, &subject::all_rejected(namespace)).await?;
        let rejections = rejected.into_iter().filter_map(|(_, _, body)| decode(&body).ok()).collect();
        let state = connection.bucket(Bucket::State).await.map_err(|error| error.to_string())?;
        let mut summaries = BTreeMap::new();
        for id in histories.keys() {
            let Ok(workflow_id) = WorkflowId::new(id.clone()) else { continue };
            let value =
                state.get(subject::state_key(&workflow_id)).await.map_err(|error| error.to_string())?;
            let summary = value.and_then(|value| decode::<RunSummary>(&value).ok());
            summaries.extend(summary.map(|summary| (id.clone(), summary)));
        }
        Ok(Self { histories, stored_signals, rejections, summaries })
    }
}

/// Everything that does not hold.
pub(crate) fn judge(pages: &Pages, found: &Found, entries: &[Entry], faults: &[Fault]) -> Vec<String> {
    let mut findings = pages.findings.clone();
    let accounts = Accounts::of(entries);
    let codes = [code()];
    for (id, asked) in &pages.asked {
        let Some(records) = found.histories.get(id) else {
            if asked.run_id.is_some() {
                findings.push(format!("{id} was confirmed and has no history"));
            }
            continue;
        };
        let mut of_run = Vec::new();
        of_run.extend(check_history(records).err());
        of_run.extend(check_replay(records, &codes).err());
        judge_run(&mut of_run, asked, records, &accounts, found.summaries.get(id));
        findings.extend(of_run.into_iter().map(|text| format!("{id}: {text}")));
    }
    for id in found.histories.keys().filter(|id| !pages.asked.contains_key(*id)) {
        findings.push(format!("there is a history of {id}, which nobody asked for"));
    }
    judge_signals(&mut findings, pages, found);
    let histories: Vec<Vec<Record>> = found.histories.values().cloned().collect();
    findings.extend(check_ledger(&without_stale(entries, faults), &histories).err());
    findings.extend(check_once(entries, &histories).err());
    let runs: BTreeSet<String> = histories.iter().flatten().map(|record| record.run_id.to_string()).collect();
    let stray = entries.iter().find(|entry| !runs.contains(&entry.run_id));
    findings.extend(stray.map(|entry| format!("done for a run of which there is no history: {entry:?}")));
    for rejection in &found.rejections {
        match rejection.code {
            // Late reports of those that were taken for dead, and requests that met a closed run.
            ErrorCode::AttemptOver | ErrorCode::AlreadyClosed | ErrorCode::NotStuck => {}
            code => findings.push(format!("set aside as {}: {}", code.name(), rejection.message)),
        }
    }
    findings
}

/// Without the beginnings of attempts in processes that stood still or could not be reached: what they begin
/// then may have been done elsewhere, and the world outside recognises it by its key.
fn without_stale(entries: &[Entry], faults: &[Fault]) -> Vec<Entry> {
    let still = |kind: Kind| matches!(kind, Kind::WorkerPaused | Kind::WorkerParted);
    let stale = |entry: &Entry| {
        faults.iter().any(|fault| {
            let there = fault.from_ms <= entry.at_ms && entry.at_ms <= fault.to_ms + STALE_MS;
            still(fault.kind) && fault.pid == Some(entry.pid) && there
        })
    };
    entries.iter().filter(|entry| entry.phase != Phase::Started || !stale(entry)).cloned().collect()
}

fn judge_run(
    findings: &mut Vec<String>,
    asked: &Asked,
    records: &[Record],
    accounts: &Accounts,
    summary: Option<&RunSummary>,
) {
    let Ok(id) = WorkflowId::new(asked.plan.id.clone()) else { return };
    let mut workflow = Workflow::new(id);
    for record in records {
        if let Err(error) = workflow.apply(record) {
            return findings.push(error.to_string());
        }
    }
    let Some(live) = workflow.summary() else { return };
    if asked.run_id.as_ref().is_some_and(|run_id| *run_id != live.run_id.to_string()) {
        findings.push(format!("run {:?} was confirmed, recorded is {}", asked.run_id, live.run_id));
    }
    if !live.status.closed() {
        return findings.push(format!("the run is {}", live.status.name()));
    }
    if summary != Some(&live) {
        findings.push(format!("the summary is {summary:?}, and the run is {live:?}"));
    }
    let run_id = live.run_id.to_string();
    let undone = accounts.undone.get(&run_id).map(Vec::as_slice).unwrap_or_default();
    findings.extend(check_compensations(records, undone).err());
    if live.status != Status::Terminated {
        judge_compensations(findings, &workflow, &run_id, accounts);
    }
    let told = asked.closed.as_ref().map(|(status, _)| *status);
    if told.is_some_and(|told| told != live.status) {
        findings.push(format!("the client was told {told:?}, recorded is {:?}", live.status));
    }
    if asked.disturbed || !asked.plan.certain() {
        return;
    }
    let answer = &asked.plan.answer;
    if !answer.statuses.contains(&live.status) {
        findings.push(format!("it ended as {:?}, expected {:?}", live.status, answer.statuses));
    }
    if live.status == Status::Completed {
        let recorded = live.result.and_then(|result| result.decode::<u64>().ok());
        let told = asked.closed.as_ref().and_then(|(_, value)| value.as_ref().and_then(|it| it.as_u64()));
        if recorded != Some(answer.result) || told != Some(answer.result) {
            let expected = answer.result;
            findings.push(format!("result {recorded:?}, told was {told:?}, expected {expected}"));
        }
    }
    judge_fates(findings, &live.run_id, records, accounts, &answer.fates);
}

/// Everything that was to be undone is dealt with, and what was undone is gone.
fn judge_compensations(findings: &mut Vec<String>, workflow: &Workflow, run_id: &str, accounts: &Accounts) {
    let compensations = workflow.describe().map(|it| it.compensations).unwrap_or_default();
    for it in compensations {
        match it.state {
            CompensationState::Completed => {
                let account = accounts.accounts.get(&(run_id.to_owned(), it.seq));
                if account.is_none_or(|account| account.undone == 0 || account.done) {
                    findings.push(format!("step {} counts as undone and is {account:?}", it.seq));
                }
            }
            CompensationState::Skipped | CompensationState::Released => {}
            // A run that completes needs none of them.
            CompensationState::Registered
                if workflow.summary().is_some_and(|it| it.status == Status::Completed) => {}
            CompensationState::Registered | CompensationState::Running | CompensationState::Failed => {
                findings.push(format!("compensation {} is {:?} in the end", it.seq, it.state));
            }
        }
    }
}

fn judge_fates(
    findings: &mut Vec<String>,
    run_id: &RunId,
    records: &[Record],
    accounts: &Accounts,
    fates: &BTreeMap<u32, Fate>,
) {
    let mut works: BTreeMap<u32, (Work, Account)> = BTreeMap::new();
    for command in records.iter().flat_map(|record| record.turn.iter().flat_map(|turn| &turn.commands)) {
        if let Command::RunActivity(run) = command
            && let Ok(work) = run.input.decode::<Work>()
        {
            let account = accounts.accounts.get(&(run_id.to_string(), run.seq)).cloned();
            works.insert(work.node, (work, account.unwrap_or_default()));
        }
    }
    for (node, fate) in fates {
        let (work, account) = match works.get(node) {
            Some((work, account)) => (Some(work), account.clone()),
            None => (None, Account::default()),
        };
        let skipped =
            work.and_then(|work| work.undo.as_ref()).is_some_and(|undo| undo.skip && undo.fatal > 0);
        let value = work.map_or(0, |work| work.value);
        let Account { asked, done, undone, amount, ref keys } = account;
        let fits = match fate {
            Fate::Done => asked > 0 && done && undone == 0 && amount == value,
            Fate::Undone => asked > 0 && (skipped || (!done && undone > 0)),
            Fate::Open => true,
            Fate::Never => asked == 0 && !done,
            Fate::Once => asked <= 1,
        };
        if !fits || keys.len() > 1 {
            findings.push(format!("node {node} should be {fate:?} with {value}, and is {account:?}"));
        }
    }
}

/// Every signal that was accepted or stored is in one history once, or was set aside.
fn judge_signals(findings: &mut Vec<String>, pages: &Pages, found: &Found) {
    let mut recorded: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for (id, records) in &found.histories {
        for event in records.iter().flat_map(|record| &record.events) {
            if let Event::SignalReceived { payload, .. } = event
                && let Ok(body) = payload.decode::<SignalBody>()
            {
                recorded.entry(body.uid).or_default().push(id);
            }
        }
    }
    let aside: BTreeSet<u64> = found
        .rejections
        .iter()
        .filter_map(|it| serde_json::from_str::<SignalMessage>(&it.preview).ok())
        .filter_map(|message| message.payload.decode::<SignalBody>().ok())
        .map(|body| body.uid)
        .collect();
    for sent in &pages.signals {
        let places = recorded.remove(&sent.uid).unwrap_or_default();
        let in_its_own = places.iter().all(|id| **id == sent.workflow_id);
        let once = places.len() == 1 && in_its_own;
        let refused = places.is_empty() && aside.contains(&sent.uid);
        let fits = match sent.accepted {
            Some(true) => once,
            Some(false) => refused || places.is_empty(),
            // A plain message: it is stored, or was trimmed after it had been dealt with.
            None => once || refused || (places.is_empty() && !found.stored_signals.contains(&sent.uid)),
        };
        if !fits {
            let id = &sent.workflow_id;
            findings.push(format!(
                "signal {} to {id} (accepted: {:?}) is in the histories of {places:?}; set aside: {}",
                sent.uid,
                sent.accepted,
                aside.contains(&sent.uid)
            ));
        }
    }
    for (uid, places) in recorded {
        findings.push(format!("signal {uid} in {places:?} was never sent"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwell_orchestrator_core::{Arrival, Input};
    use stepwell_shared::history::RunStarted;
    use stepwell_shared::ids::{Name, StepId};
    use stepwell_shared::message::Outcome;
    use stepwell_shared::payload::Payload;
    use stepwell_worker_replay::Instance;

    use super::super::book::Sent;
    use super::super::plan::{Plan, Whim};
    use super::*;
    use stepwell_simulation::code::{TYPE, signal_name};
    use stepwell_simulation::dice::Dice;
    use stepwell_simulation::program::Program;

    /// What the outside knows, what is stored and what was done, of one run that did one piece of work and
    /// received one signal.
    struct World {
        pages: Pages,
        found: Found,
        entries: Vec<Entry>,
        faults: Vec<Fault>,
    }

    impl World {
        fn sound() -> Self {
            let work = json!({"node": 1, "value": 5, "transient": 0, "fatal": false, "endless": false, "lasts_ms": 1,
                "announced": false, "undo": null});
            let once = json!({"node": 2, "value": 7, "transient": 0, "fatal": false, "endless": false, "lasts_ms": 1,
                "announced": false, "undo": null});
            let program = json!({"ops": [{"Run": work}, {"Once": once}, {"Receive": 1}], "end": "Return"});
            let program: Program = serde_json::from_value(program).expect("a program");
            let answer = program.answer(false);
            let (id, run_id) = ("order 1".to_owned(), RunId::new("run-1").expect("a valid id"));
            let signal = SignalBody { number: 1, value: answer.result - 5, uid: 77 };
            let name = |text: &str| Name::new(text).expect("a valid name");
            let started = RunStarted {
                workflow_type: name(TYPE),
                queue: name("default"),
                input: Payload::encode(&program).expect("it has a JSON form"),
                request_id: None,
                run_timeout_ms: None,
                execution_timeout_ms: None,
            };
            let completed = |seq: u32, value: u64| Input::Report {
                run_id: run_id.clone(),
                step: StepId::Action(seq),
                attempt: 1,
                outcome: Outcome::Completed { result: Payload::encode(&value).expect("a number") },
            };
            let inputs = [
                Input::Start { start: Box::new(started), run_id: run_id.clone() },
                completed(1, 5),
                completed(2, 7),
                Input::Signal {
                    name: name(signal_name(1)),
                    payload: Payload::encode(&signal).expect("it has a JSON form"),
                    request_id: None,
                },
            ];
            let workflow_id = WorkflowId::new(id.clone()).expect("a valid id");
            let (records, summary) = live(&workflow_id, &run_id, inputs);
            let mut pages = Pages::default();
            let plan =
                Plan { id: id.clone(), program, answer, whim: Whim::Nothing, dice: Dice::of(1, "a test") };
            let closed = Some((Status::Completed, Some(json!(plan.answer.result))));
            let asked = Asked { plan, run_id: Some(run_id.to_string()), closed, disturbed: false };
            pages.asked.insert(id.clone(), asked);
            pages.signals.push(Sent {
                workflow_id: id.clone(),
                uid: 77,
                settled: true,
                accepted: Some(true),
            });
            let found = Found {
                histories: BTreeMap::from([(id.clone(), records)]),
                stored_signals: BTreeSet::from([77]),
                rejections: Vec::new(),
                summaries: BTreeMap::from([(id, summary)]),
            };
            let steps = [("1", 1, 5, 10), ("2", 2, 7, 20)];
            let entries = steps.into_iter().flat_map(|(step, node, amount, at_ms)| {
                [Phase::Started, Phase::Finished].map(|phase| entry(step, node, amount, at_ms, phase))
            });
            Self { pages, found, entries: entries.collect(), faults: Vec::new() }
        }

        fn judged(&self) -> Vec<String> {
            judge(&self.pages, &self.found, &self.entries, &self.faults)
        }

        fn records(&mut self) -> &mut Vec<Record> {
            self.found.histories.get_mut("order 1").expect("it is there")
        }

        fn asked(&mut self) -> &mut Asked {
            self.pages.asked.get_mut("order 1").expect("it is there")
        }
    }

    /// Runs the program as an orchestrator and a worker would; each input at its time, ten milliseconds apart.
    fn live(id: &WorkflowId, run_id: &RunId, inputs: [Input; 4]) -> (Vec<Record>, RunSummary) {
        let mut workflow = Workflow::new(id.clone());
        let mut instance = Instance::new(code(), id.clone(), run_id.clone());
        let mut records = Vec::new();
        for (input, number) in inputs.into_iter().zip(1u64..) {
            let now_ms = number * 10;
            workflow.receive(&Arrival { sequence: Some(number), input }, now_ms);
            if let Some(request) = workflow.turn_request(now_ms) {
                let turn = instance.turn(&request.events, request.at_ms, request.index);
                let commands = turn.unwrap_or_else(|stalled| panic!("{}", stalled.message));
                workflow.answer(commands, None, request.events.len()).expect("a turn");
            }
            records.extend(workflow.seal().map(|commit| commit.record));
        }
        (records, workflow.summary().expect("there is a run"))
    }

    fn entry(step: &str, node: u32, amount: u64, at_ms: u64, phase: Phase) -> Entry {
        Entry {
            at_ms,
            pid: 9,
            workflow_id: "order 1".into(),
            run_id: "run-1".into(),
            step: step.into(),
            attempt: 1,
            activity: "work".into(),
            key: format!("run-1/{step}"),
            phase,
            text: json!({"node": node, "amount": amount}).to_string(),
        }
    }

    #[test]
    fn what_is_exact_passes() {
        assert_eq!(World::sound().judged(), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_exact_is_found() {
        type Doctor = fn(&mut World);
        let doctored: [(&str, Doctor); 17] = [
            ("has no history", |world| world.found.histories.clear()),
            ("nobody asked for", |world| {
                let records = world.records().clone();
                world.found.histories.insert("order 2".into(), records);
            }),
            ("run Some(\"run-2\") was confirmed", |world| world.asked().run_id = Some("run-2".into())),
            ("the run is running", |world| drop(world.records().pop())),
            ("number 2 in the history", |world| drop(world.records().remove(1))),
            ("the client was told Some(Failed)", |world| world.asked().closed = Some((Status::Failed, None))),
            ("told was Some(1)", |world| world.asked().closed = Some((Status::Completed, Some(json!(1))))),
            ("expected [Failed]", |world| world.asked().plan.answer.statuses = vec![Status::Failed]),
            ("expected 1", |world| world.asked().plan.answer.result = 1),
            ("the summary is None", |world| world.found.summaries.clear()),
            ("node 1 should be Done", |world| world.entries.retain(|entry| entry.step != "1")),
            ("node 1 should be Undone", |world| {
                world.asked().plan.answer.fates.insert(1, Fate::Undone);
            }),
            ("node 1 should be Done", |world| {
                let again = Entry { key: "another".into(), ..world.entries[1].clone() };
                world.entries.push(again);
            }),
            ("node 2 should be Once", |world| world.entries.push(world.entries[3].clone())),
            ("begun twice", |world| world.entries.push(world.entries[2].clone())),
            ("of which there is no history", |world| {
                let stray = Entry { run_id: "run-2".into(), ..world.entries[0].clone() };
                world.entries.push(stray);
            }),
            ("executed again", |world| {
                let again = Entry { at_ms: 25, attempt: 2, ..world.entries[0].clone() };
                world.entries.push(again);
            }),
        ];
        for (wanted, doctor) in doctored {
            let mut world = World::sound();
            doctor(&mut world);
            let findings = world.judged();
            assert!(findings.iter().any(|it| it.contains(wanted)), "{wanted} is not in {findings:?}");
        }
    }

    #[test]
    fn a_signal_that_is_lost_doubled_or_forged_is_found() {
        let judged = |doctor: fn(&mut World)| {
            let mut world = World::sound();
            doctor(&mut world);
            let mut findings = Vec::new();
            judge_signals(&mut findings, &world.pages, &world.found);
            findings
        };
        assert_eq!(judged(|_| {}), Vec::<String>::new());
        let lost = |world: &mut World| drop(world.records().pop());
        assert_eq!(judged(lost).len(), 1);
        let stored_and_lost = |world: &mut World| {
            world.pages.signals[0].accepted = None;
            world.records().pop();
        };
        assert_eq!(judged(stored_and_lost).len(), 1);
        let doubled = |world: &mut World| {
            let last = world.records().last().cloned();
            world.records().extend(last);
        };
        assert_eq!(judged(doubled).len(), 1);
        assert_eq!(judged(|world| world.pages.signals[0].accepted = Some(false)).len(), 1);
        assert_eq!(judged(|world| world.pages.signals.clear()).len(), 1);
        assert_eq!(judged(|world| world.pages.signals[0].workflow_id = "order 2".into()).len(), 1);
    }

    #[test]
    fn what_is_set_aside_for_a_wrong_reason_is_found() {
        let rejection = |code: &str| {
            let value = json!({"v": 1, "code": code, "message": "m", "subject": "s", "sequence": 1, "at_ms": 1,
                "size": 1, "preview": ""});
            serde_json::from_value::<Rejection>(value).expect("a rejection")
        };
        let mut world = World::sound();
        world.found.rejections.push(rejection("attempt_over"));
        assert_eq!(world.judged(), Vec::<String>::new());
        world.found.rejections.push(rejection("wrong_token"));
        assert_eq!(world.judged(), ["set aside as wrong_token: m"]);
    }

    #[test]
    fn only_a_process_that_stood_still_may_begin_late() {
        let mut world = World::sound();
        let late = Entry { at_ms: 25, attempt: 2, ..world.entries[0].clone() };
        world.entries.push(late);
        let fault = |kind: Kind, pid: u32, from_ms: u64| Fault {
            kind,
            victim: String::new(),
            pid: Some(pid),
            from_ms,
            to_ms: from_ms + 1,
            proof: None,
        };
        world.faults = vec![
            fault(Kind::WorkerPaused, 8, 5),
            fault(Kind::WorkerKilled, 9, 5),
            fault(Kind::WorkerPaused, 9, 26),
        ];
        assert_eq!(world.judged().len(), 1, "somebody else, something else, too early");
        world.faults.push(fault(Kind::WorkerPaused, 9, 5));
        assert_eq!(world.judged(), Vec::<String>::new());
    }
}
