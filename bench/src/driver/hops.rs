//! Where the time of one step goes, hop by hop.
//!
//! The times at which something was stored are the server's, in the messages themselves and in the subjects
//! on which tasks are acknowledged. When code and activity ran stands in the payloads of a workflow that
//! writes it there. All clocks are this machine's. How long it was waited for answers and for records is what the
//! orchestrator measures itself.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use stepwell_bench_measure::statistics::Samples;
use stepwell_shared::command::Command;
use stepwell_shared::encoding::decode;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};

use super::http;
use super::latency::milliseconds;
use super::load::{Kind, Load};
use super::stage::Side;
use super::stored;
use super::window::stream;
use crate::payload::{Plan, Stamp};
use crate::report::Table;

/// Steps of a traced workflow; its first ones are not counted.
const STEPS: u32 = 50;

/// Steps that are not counted.
const WARM_UP: usize = 5;

/// Longest wait for an acknowledgement after the workflow has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Workflows that are traced, one after the other; of these the first is not counted.
const WORKFLOWS: u64 = 5;

/// What happens in a step, each with what came before it.
const HOPS: [&str; 5] = [
    "task stored - activity begun",
    "activity begun - report stored",
    "report stored - code runs",
    "code runs - record stored",
    "record stored - next task stored",
];

/// Means that the orchestrator measures.
const MEANS: [(&str, &str); 2] = [
    ("workflow task sent - answered, mean", "stepwell_workflow_task_seconds"),
    ("record sent - known to be stored, mean", "stepwell_history_append_seconds"),
];

/// The moments of one step, in nanoseconds since 1970; [`HOPS`] are the times between them.
type Moments = [i128; HOPS.len() + 1];

/// Means of the steps, in milliseconds.
pub(crate) type Means = Vec<(&'static str, f64)>;

/// Traces some workflows.
pub(crate) async fn trace(side: &Side) -> Result<(Table, Means)> {
    let listen = side.crew.options().listen.context("the orchestrator does not show its metrics")?;
    let mut load = Load::new(&side.connection, "traced").await?;
    let mut steps: Vec<Moments> = Vec::new();
    let before = metrics(listen).await?;
    for number in 1..=WORKFLOWS {
        let id = load.id(number)?;
        let of_one = trace_one(side, &mut load, &id).await.with_context(|| format!("tracing {id}"))?;
        if number > 1 {
            steps.extend(of_one.into_iter().skip(WARM_UP));
        }
    }
    let after = metrics(listen).await?;
    let hop = |from: usize, to: usize| -> Samples {
        steps.iter().map(|moments| milliseconds(moments[to] - moments[from])).collect()
    };
    let all = (0..HOPS.len()).map(|index| (HOPS[index], hop(index, index + 1)));
    let all = all.chain([("the whole step", hop(0, HOPS.len()))]);
    let row = |(label, samples): (&str, Samples)| {
        (label.to_owned(), vec![samples.percentile(0.5), samples.percentile(0.99)])
    };
    let table = Table {
        key: "hops_ms",
        title: format!("where the time of a step goes, ms, {} steps", steps.len()),
        columns: vec!["p50".into(), "p99".into()],
        rows: all.map(row).collect(),
        digits: 3,
    };
    let mean = |(label, name): &(&'static str, &str)| {
        let since = |end: &str| Some(sample(&after, name, end)? - sample(&before, name, end)?);
        Some((*label, since("_sum")? * 1_000.0 / since("_count")?))
    };
    Ok((table, MEANS.iter().filter_map(mean).collect()))
}

async fn metrics(address: SocketAddr) -> Result<String> {
    let (code, body) = http::get(address, "/metrics").await?;
    ensure!(code == 200, "the orchestrator does not show its metrics: {code}");
    Ok(body)
}

fn sample(metrics: &str, name: &str, end: &str) -> Option<f64> {
    let values = |line: &str| line.strip_prefix(name)?.strip_prefix(end)?.trim().parse().ok();
    metrics.lines().find_map(values)
}

async fn trace_one(side: &Side, load: &mut Load, id: &WorkflowId) -> Result<Vec<Moments>> {
    let events = stream(&side.connection, Stream::Events).await?.state.last_sequence;
    // With or without the domain and the account in it.
    let client = side.connection.client();
    let mut acknowledgements = client.subscribe("$JS.ACK.>").await?;
    client.flush().await?;
    load.start(Kind::Traced, &Plan::activities(STEPS)).await?;
    load.wait_for_close().await?;
    let stream_name = Stream::Tasks(Shard::FIRST).name(side.connection.namespace());
    let mut tasks = Vec::new();
    while tasks.len() < STEPS as usize {
        let next = tokio::time::timeout(PATIENCE, acknowledgements.next()).await;
        let acknowledgement = next.context("not every task is acknowledged")?;
        let acknowledgement = acknowledgement.context("the connection is closed")?;
        tasks.extend(stored_at(&acknowledgement.subject, &stream_name));
    }
    let reports = read_reports(side, id, events + 1).await?;
    let (records, results, inputs) = read_records(side, id).await?;
    let steps = STEPS as usize;
    ensure!(
        [reports.len(), results.len(), inputs.len()] == [steps; 3] && records.len() == steps + 1,
        "of {steps} steps there are {} reports, {} results, {} inputs, {} records",
        reports.len(),
        results.len(),
        inputs.len(),
        records.len(),
    );
    // Record n + 1 follows from step n; the last step has no next one.
    let moments = (0..steps - 1)
        .map(|n| [tasks[n], results[n], reports[n], inputs[n + 1], records[n + 1], tasks[n + 1]]);
    Ok(moments.collect())
}

/// When the message of `stream` was stored that is acknowledged on this subject:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<sequence>.<time>.<pending>`, with two tokens after
/// `ACK` and one at the end more where domain and account are in it.
fn stored_at(subject: &str, stream: &str) -> Option<i128> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let place = tokens.iter().position(|token| *token == stream)?;
    tokens.get(place + 5)?.parse().ok()
}

async fn read_reports(side: &Side, id: &WorkflowId, from: u64) -> Result<Vec<i128>> {
    let namespace = side.connection.namespace();
    let filter = format!("stepwell.{namespace}.event.*.{}.activity.>", subject::escape(id.as_str()));
    let mut reports = Vec::new();
    stored::read(&side.connection, Stream::Events, &filter, (from, u64::MAX), |report| {
        reports.push(report.at_ns);
        Ok(())
    })
    .await?;
    Ok(reports)
}

/// When each record was stored, each activity begun, and each piece of code run.
async fn read_records(side: &Side, id: &WorkflowId) -> Result<(Vec<i128>, Vec<i128>, Vec<i128>)> {
    let partitions = stepwell_shared::limits::DEFAULT_PARTITIONS;
    let filter = subject::history(side.connection.namespace(), id, partitions);
    let (mut records, mut results, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
    stored::read(&side.connection, Stream::History(Shard::FIRST), &filter, (1, u64::MAX), |stored| {
        let record: Record = decode(&stored.body)?;
        records.push(stored.at_ns);
        for event in &record.events {
            if let Event::ActivityCompleted { result, .. } = event {
                results.push(i128::from(result.decode::<Stamp>()?.at_ns));
            }
        }
        let Some(turn) = record.turn else { bail!("record {} is not a turn", record.index) };
        for command in &turn.commands {
            if let Command::RunActivity(activity) = command {
                inputs.push(i128::from(activity.input.decode::<Stamp>()?.at_ns));
            }
        }
        Ok(())
    })
    .await?;
    Ok((records, results, inputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_task_was_stored_is_read_from_both_forms_of_the_subject() {
        assert_eq!(
            stored_at("$JS.ACK.TASKS.bench.1.17.17.1700000000000000001.0", "TASKS"),
            Some(1_700_000_000_000_000_001)
        );
        assert_eq!(stored_at("$JS.ACK._.hash.TASKS.bench.1.17.17.42.0.random", "TASKS"), Some(42));
        assert_eq!(sample("a_seconds_sum 2.5\na_seconds_count 5", "a_seconds", "_count"), Some(5.0));
        assert_eq!(stored_at("$JS.ACK.EVENTS.bench.1.17.17.42.0", "TASKS"), None);
    }
}
