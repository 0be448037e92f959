//! Starting runs, talking to them, and reading what became of them.

use serde_json::{Value, json};
use stepwell_shared::api::{Description, HistoryAnswer, ListAnswer, QueryAnswer, Receipt, WorkersAnswer};
use stepwell_shared::history::Record;
use stepwell_shared::summary::{RunSummary, Status};

use crate::support::{Dev, command, file, finish, stepwell_with_stdin};
use crate::worker;

#[tokio::test(flavor = "multi_thread")]
async fn inputs_come_from_the_command_line_a_file_or_stdin_and_results_go_to_stdout() {
    let dev = Dev::start(&[]);
    let _worker = worker::start(&dev).await;
    let exact = r#"{"b": 1.50, "a": [ "ü" ]}"#;
    let start = |id, input| dev.run(&["start", "echo", "--id", id, "--input", input, "--wait"]);
    assert_eq!(start("line", exact).ok(), exact);
    let path = file("input.json", exact);
    assert_eq!(start("file", &format!("@{}", path.display())).ok(), exact);
    let piped = ["start", "echo", "--id", "pipe", "--input", "-", "--wait"];
    assert_eq!(stepwell_with_stdin(&dev.url, &piped, exact).ok(), exact);
    assert_eq!(dev.run(&["start", "echo", "--id", "none", "--wait"]).ok(), "null");
    assert_eq!(dev.run(&["result", "line"]).ok(), exact);
    let summary: RunSummary = dev.run(&["result", "line", "-o", "json"]).json();
    assert_eq!((summary.status, summary.result.unwrap().json()), (Status::Completed, exact));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_signalled_asked_and_followed_to_its_end() {
    let dev = Dev::start(&[]);
    let _worker = worker::start(&dev).await;
    let started: Receipt =
        dev.run(&["start", "gate", "--id", "g 1", "--request-id", "r", "-o", "json"]).json();
    assert!(!started.duplicate);
    let again = dev.run(&["start", "gate", "--id", "g 1", "--request-id", "r"]);
    assert!(again.stderr.contains("it had been taken in before"), "{again:?}");
    assert_eq!(again.ok(), started.run_id.as_str());
    assert_eq!(dev.run(&["query", "g 1", "state", "--argument", r#"{"x":1}"#]).ok(), r#"{"x":1}"#);
    let answer: QueryAnswer = dev.run(&["query", "g 1", "state", "-o", "json"]).json();
    assert_eq!(answer.result.json(), "null");
    let following = command(&dev.url, &["history", "g 1", "--follow"]).spawn().unwrap();
    let following_json = command(&dev.url, &["history", "g 1", "--follow", "-o", "json"]).spawn().unwrap();
    assert_eq!(dev.run(&["signal", "g 1", "noise"]).ok(), started.run_id.as_str());
    dev.run(&["signal", "g 1", "open", "--payload", "7", "--request-id", "s"]).ok();
    assert_eq!(dev.run(&["result", "g 1"]).ok(), "7");
    let followed = finish(following).ok();
    for part in ["run_started", "gate on queue default, input null", "noise null", "open 7", "→ complete_run"]
    {
        assert!(followed.contains(part), "{part}: {followed}");
    }
    let records = finish(following_json).ok();
    let records: Vec<Record> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let history: HistoryAnswer = dev.run(&["history", "g 1", "-o", "json"]).json();
    assert_eq!(history, HistoryAnswer { records: records.clone(), more: false });
    let rest: HistoryAnswer = dev.run(&["history", "g 1", "--after", "1", "-o", "json"]).json();
    assert_eq!(rest.records, records[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_by_what_is_asked() {
    let dev = Dev::start(&[]);
    let _worker = worker::start(&dev).await;
    for id in ["a-1", "a-2", "b-1"] {
        dev.run(&["start", "gate", "--id", id]).ok();
    }
    dev.run(&["start", "echo", "--id", "b-2", "--wait"]).ok();
    dev.run(&["start", "gate", "--id", "c-1", "--queue", "nobody"]).ok();
    let ids = |arguments: &[&str]| {
        let answer: ListAnswer = dev.run(&[&["list", "-o", "json"], arguments].concat()).json();
        let mut ids: Vec<String> = answer.runs.iter().map(|run| run.workflow_id.to_string()).collect();
        ids.sort();
        assert!(answer.total >= ids.len());
        ids
    };
    assert_eq!(ids(&[]), ["a-1", "a-2", "b-1", "b-2", "c-1"]);
    assert_eq!(ids(&["--id-prefix", "a-"]), ["a-1", "a-2"]);
    assert_eq!(ids(&["--type", "echo"]), ["b-2"]);
    assert_eq!(ids(&["--status", "completed,failed"]), ["b-2"]);
    assert_eq!(ids(&["--limit", "2"]).len(), 2);
    assert_eq!(ids(&["--stuck"]), ["c-1"]);
    let table = dev.run(&["list", "--stuck"]).ok();
    assert!(table.starts_with("WORKFLOW") && table.contains("no_worker: "), "{table}");
    let nothing = dev.run(&["list", "--type", "unknown"]);
    assert_eq!(nothing.stderr, "no workflows match\n");
    assert_eq!(nothing.ok(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_go_on_says_why_and_goes_on_when_a_worker_comes() {
    let dev = Dev::start(&[]);
    dev.run(&["start", "echo", "--id", "early", "--input", "1"]).ok();
    let waiting = command(&dev.url, &["result", "early"]).spawn().unwrap();
    let description: Description = dev.run(&["describe", "early", "-o", "json"]).json();
    assert!(description.summary.stall.is_some());
    let text = dev.run(&["describe", "early"]).ok();
    assert!(text.contains("cannot go on  no_worker: "), "{text}");
    assert!(text.ends_with("No worker of queue default is known"), "{text}");
    let _worker = worker::start(&dev).await;
    assert_eq!(finish(waiting).ok(), "1");
    let text = dev.run(&["describe", "early"]).ok();
    assert!(text.contains("status        completed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_and_terminating_are_told_apart() {
    let dev = Dev::start(&[]);
    let _worker = worker::start(&dev).await;
    for id in ["c", "t"] {
        dev.run(&["start", "gate", "--id", id]).ok();
    }
    dev.run(&["cancel", "c", "--reason", "ordered twice"]).ok();
    let cancelled = dev.run(&["result", "c", "-o", "json"]);
    assert_eq!(cancelled.json::<Value>()["status"], json!("cancelled"));
    assert!(cancelled.failed(4).contains("c is cancelled: Cancelled: ordered twice"));
    dev.run(&["terminate", "t", "--reason", "enough"]).ok();
    assert!(dev.run(&["result", "t"]).failed(4).contains("t is terminated: Terminated: enough"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_terminal_obeys_reaches_it() {
    let dev = Dev::start(&[]);
    let _worker = worker::start(&dev).await;
    let broken = dev.run(&["start", "broken", "--id", "b", "--wait"]).failed(4);
    assert!(broken.contains("b is failed: Broken: it [31mbroke"), "{broken}");
    for arguments in [&["workers"][..], &["describe", "b"], &["history", "b"], &["list"]] {
        let text = dev.run(arguments).ok();
        assert!(text.contains("[31m") && !text.contains('\u{1b}'), "{text:?}");
    }
    let workers: WorkersAnswer = dev.run(&["workers", "-o", "json"]).json();
    assert_eq!(workers.workers[0].host, "host\u{1b}[31m");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_written_as_asked() {
    let dev = Dev::start(&[]);
    dev.run(&["start", "gate", "--id", "g"]).ok();
    let list = |format| dev.run(&["list", "--time-format", format]).ok();
    assert!(list("relative").contains(" ago"));
    assert!(list("iso").contains("Z  "));
    let summary: ListAnswer = dev.run(&["list", "-o", "json"]).json();
    assert!(list("unix").contains(&summary.runs[0].started_at_ms.to_string()));
}
