//! Every metric of the orchestrator: name, help, labels and buckets. Durations are seconds. No label
//! holds an id; a label that a user chooses is bounded by [`MAX_TYPES`].

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// Most distinct workflow types, activity types and queues that get a label value of their own; further
/// ones are counted as `_other`, so that a sender of made-up types cannot fill the memory of Prometheus.
const MAX_TYPES: usize = 500;

const FAST: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const LONG: &[f64] =
    &[0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0];
const BYTES: &[f64] = &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 16_777_216.0];

/// The metrics of one process.
pub(crate) struct Metrics {
    registry: Registry,
    types: Mutex<BTreeSet<String>>,
    pub(crate) runs_started: IntCounterVec,
    pub(crate) runs_closed: IntCounterVec,
    pub(crate) run_seconds: HistogramVec,
    pub(crate) runs_stalled: IntCounterVec,
    pub(crate) events: IntCounterVec,
    pub(crate) signals: IntCounter,
    pub(crate) attempts: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) compensations: IntCounterVec,
    pub(crate) schedule_to_start_seconds: HistogramVec,
    pub(crate) execution_seconds: HistogramVec,
    pub(crate) workflow_task_seconds: Histogram,
    pub(crate) workflow_task_failures: IntCounterVec,
    pub(crate) replays: IntCounter,
    pub(crate) append_seconds: Histogram,
    pub(crate) record_bytes: Histogram,
    pub(crate) fenced_writes: IntCounter,
    pub(crate) effect_retries: IntCounter,
    pub(crate) recovered_tasks: IntCounter,
    pub(crate) rejected: IntCounterVec,
    pub(crate) timers_fired: IntCounter,
    pub(crate) timer_lag_seconds: Histogram,
    pub(crate) timers_pending: IntGauge,
    pub(crate) backlog: IntGauge,
    pub(crate) in_flight: IntGauge,
    pub(crate) cached_runs: IntGauge,
    pub(crate) cache_loads: IntCounter,
    pub(crate) cache_evictions: IntCounter,
    pub(crate) stuck_runs: IntGaugeVec,
    pub(crate) workers: IntGaugeVec,
    pub(crate) worker_slots: IntGaugeVec,
    pub(crate) partitions: IntGauge,
    pub(crate) clock_ahead_ms: IntGauge,
    pub(crate) partitions_owned: IntGauge,
    pub(crate) recovered: IntCounterVec,
    pub(crate) streams_wrong: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("stepwell".into()), None)?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let r = &registry;
        let metrics = Self {
            runs_started: counters(r, "runs_started_total", "Runs started.", &["type"])?,
            runs_closed: counters(
                r,
                "runs_closed_total",
                "Runs closed, by how they ended.",
                &["type", "status"],
            )?,
            run_seconds: histograms(
                r,
                "run_duration_seconds",
                "From a run's start to its close.",
                LONG,
                &["type"],
            )?,
            runs_stalled: counters(
                r,
                "runs_stalled_total",
                "Times that a run could not go on, by reason.",
                &["reason"],
            )?,
            events: counters(r, "history_events_total", "Events recorded, by kind.", &["kind"])?,
            signals: counter(r, "signals_total", "Signals taken in.")?,
            attempts: counters(
                r,
                "activity_attempts_total",
                "Attempts reported, by outcome.",
                &["queue", "activity", "outcome"],
            )?,
            retries: counters(
                r,
                "activity_retries_total",
                "Attempts that failed and are repeated.",
                &["queue", "activity"],
            )?,
            compensations: counters(
                r,
                "compensations_total",
                "Compensations ended, by outcome.",
                &["outcome"],
            )?,
            schedule_to_start_seconds: histograms(
                r,
                "activity_schedule_to_start_seconds",
                "From a task's publication to the start of the attempt.",
                LONG,
                &["queue"],
            )?,
            execution_seconds: histograms(
                r,
                "activity_execution_seconds",
                "How long attempts ran.",
                LONG,
                &["queue", "activity"],
            )?,
            workflow_task_seconds: histogram(
                r,
                "workflow_task_seconds",
                "From asking workflow code to its answer.",
                FAST,
            )?,
            workflow_task_failures: counters(
                r,
                "workflow_task_failures_total",
                "Workflow tasks without commands, by reason.",
                &["reason"],
            )?,
            replays: counter(
                r,
                "workflow_replays_total",
                "Workflow tasks for which a worker had to replay the history.",
            )?,
            append_seconds: histogram(
                r,
                "history_append_seconds",
                "From sending a record to its acknowledgement.",
                FAST,
            )?,
            record_bytes: histogram(r, "history_record_bytes", "Size of records.", BYTES)?,
            fenced_writes: counter(
                r,
                "fenced_writes_total",
                "Records refused because somebody else wrote first.",
            )?,
            effect_retries: counter(
                r,
                "effect_retries_total",
                "Publishes of effects that had to be repeated.",
            )?,
            recovered_tasks: counter(
                r,
                "recovered_tasks_total",
                "Activity tasks published again because a predecessor died before it could.",
            )?,
            rejected: counters(r, "rejected_total", "Messages set aside, by code.", &["code"])?,
            timers_fired: counter(r, "wakes_total", "Times that a run was woken by the clock.")?,
            timer_lag_seconds: histogram(
                r,
                "timer_lag_seconds",
                "From a wake's due time to its start.",
                FAST,
            )?,
            timers_pending: gauge(r, "timers_pending", "Runs that wait for a time.")?,
            backlog: gauge(r, "events_backlog", "Events stored and not yet read.")?,
            in_flight: gauge(r, "events_in_flight", "Events read and not yet done.")?,
            cached_runs: gauge(r, "cached_runs", "Runs in memory.")?,
            cache_loads: counter(r, "cache_loads_total", "Runs rebuilt from their history.")?,
            cache_evictions: counter(r, "cache_evictions_total", "Runs dropped from memory.")?,
            stuck_runs: gauges(r, "stuck_runs", "Runs that cannot go on now, by reason.", &["reason"])?,
            workers: gauges(r, "workers", "Workers known now.", &["queue"])?,
            worker_slots: gauges(
                r,
                "worker_slots",
                "Activity slots of the workers known now.",
                &["queue", "state"],
            )?,
            partitions: gauge(r, "namespace_partitions", "Partitions of the namespace.")?,
            clock_ahead_ms: gauge(
                r,
                "server_clock_ahead_milliseconds",
                "How far the server's clock is ahead of this machine's.",
            )?,
            partitions_owned: gauge(r, "partitions_owned", "Partitions at which this process works.")?,
            recovered: counters(
                r,
                "recovered_total",
                "Work that was due and not delivered, found by looking for it, by what it was.",
                &["what"],
            )?,
            streams_wrong: gauge(
                r,
                "streams_wrong",
                "Streams that are missing or have settings with which no orchestrator would start.",
            )?,
            types: Mutex::new(BTreeSet::new()),
            registry: registry.clone(),
        };
        Ok(metrics)
    }

    /// The label value for a name that a user chose.
    pub(crate) fn label<'a>(&self, name: &'a str) -> &'a str {
        let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        if types.contains(name) {
            return name;
        }
        if types.len() >= MAX_TYPES {
            return "_other";
        }
        types.insert(name.to_owned());
        name
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        let mut body = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut body) {
            Ok(()) => String::from_utf8_lossy(&body).into_owned(),
            Err(error) => format!("# metrics could not be encoded: {error}\n"),
        }
    }
}

type Made<T> = Result<T, prometheus::Error>;

fn counter(registry: &Registry, name: &str, help: &str) -> Made<IntCounter> {
    let metric = IntCounter::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Made<IntCounterVec> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Made<IntGauge> {
    let metric = IntGauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Made<IntGaugeVec> {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Made<Histogram> {
    let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
    labels: &[&str],
) -> Made<HistogramVec> {
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
