//! Every metric of a worker: name, help, labels and buckets. Durations are seconds. No label holds an id;
//! types are those that the worker has code for, so their number is bounded by the program.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};
use stepwell_shared::history::StallKind;

const FAST: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const LONG: &[f64] = &[
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0,
    21_600.0, 86_400.0,
];

const ATTEMPTS: Definition =
    Definition("worker_activity_attempts_total", "Attempts of activities, by how they ended.");
const SCHEDULE_TO_START: Definition = Definition(
    "worker_activity_schedule_to_start_seconds",
    "From the publication of an activity task to the start of the attempt; compares two machines' clocks.",
);
const EXECUTION: Definition = Definition("worker_activity_execution_seconds", "How long an attempt ran.");
const UNREADABLE_TASKS: Definition = Definition(
    "worker_activity_tasks_unreadable_total",
    "Activity tasks that could not be read and were given up.",
);
const NOT_WANTED: Definition = Definition(
    "worker_activity_tasks_not_wanted_total",
    "Activity tasks that were not begun because their time was over or their run closed.",
);
const HANDED_BACK: Definition = Definition(
    "worker_activity_tasks_handed_back_total",
    "Activity tasks that arrived while the worker was ending and were left to another one.",
);
const REPORTS_RETRIED: Definition =
    Definition("worker_reports_retried_total", "Times that a report of an attempt had to be sent again.");
const REPORTS_PACKED: Definition =
    Definition("worker_reports_packed_total", "Reports of attempts that were stored together with others.");
const HEARTBEATS_WRITTEN: Definition =
    Definition("worker_heartbeats_written_total", "Heartbeat details that were written down.");
const SLOTS: Definition = Definition("worker_activity_slots", "Activities that may run at once.");
const SLOTS_USED: Definition = Definition("worker_activity_slots_used", "Activities that run now.");
const WORKFLOW_TASKS: Definition =
    Definition("worker_workflow_tasks_total", "Workflow tasks, by how they were answered.");
const WORKFLOW_TASK_SECONDS: Definition = Definition(
    "worker_workflow_task_seconds",
    "From the receipt of a workflow task to its answer, replay included.",
);
const REPLAYS: Definition = Definition("worker_workflow_replays_total", "Runs replayed from their history.");
const REPLAY_SECONDS: Definition =
    Definition("worker_workflow_replay_seconds", "How long a run's history took to be read and replayed.");
const CACHE_HITS: Definition =
    Definition("worker_run_cache_hits_total", "Workflow tasks whose run was in memory as it had to be.");
const CACHE_MISSES: Definition =
    Definition("worker_run_cache_misses_total", "Workflow tasks of open runs that had to be replayed.");
const CACHE_SIZE: Definition = Definition("worker_run_cache_size", "Runs in memory.");
const CACHE_EVICTIONS: Definition =
    Definition("worker_run_cache_evictions_total", "Runs dropped from memory to make room.");

/// Name, without the prefix, and help.
struct Definition(&'static str, &'static str);

/// The metrics of one worker.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    attempts: IntCounterVec,
    schedule_to_start: HistogramVec,
    execution: HistogramVec,
    pub(crate) unreadable_tasks: IntCounter,
    pub(crate) handed_back: IntCounter,
    pub(crate) not_wanted: IntCounter,
    pub(crate) reports_retried: IntCounter,
    pub(crate) reports_packed: IntCounter,
    pub(crate) heartbeats_written: IntCounter,
    pub(crate) slots: IntGauge,
    pub(crate) slots_used: IntGauge,
    workflow_tasks: IntCounterVec,
    pub(crate) workflow_task_seconds: Histogram,
    pub(crate) replays: IntCounter,
    pub(crate) replay_seconds: Histogram,
    pub(crate) cache_hits: IntCounter,
    pub(crate) cache_misses: IntCounter,
    pub(crate) cache_size: IntGauge,
    pub(crate) cache_evictions: IntCounter,
}

/// The metrics of one activity type, looked up once.
#[derive(Debug, Clone)]
pub(crate) struct ActivityMetrics {
    pub(crate) completed: IntCounter,
    pub(crate) failed: IntCounter,
    pub(crate) cancelled: IntCounter,
    pub(crate) timed_out: IntCounter,
    pub(crate) panicked: IntCounter,
    pub(crate) lost: IntCounter,
    schedule_to_start: Histogram,
    execution: Histogram,
}

/// How a workflow task was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answered {
    Commands,
    Query,
    QueryFailed,
    Stalled(StallKind),
    Busy,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("stepwell".into()), None)?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let r = &registry;
        Ok(Self {
            attempts: counters(r, ATTEMPTS, &["activity", "outcome"])?,
            schedule_to_start: histograms(r, SCHEDULE_TO_START, LONG, &["activity"])?,
            execution: histograms(r, EXECUTION, LONG, &["activity"])?,
            unreadable_tasks: counter(r, UNREADABLE_TASKS)?,
            handed_back: counter(r, HANDED_BACK)?,
            not_wanted: counter(r, NOT_WANTED)?,
            reports_retried: counter(r, REPORTS_RETRIED)?,
            reports_packed: counter(r, REPORTS_PACKED)?,
            heartbeats_written: counter(r, HEARTBEATS_WRITTEN)?,
            slots: gauge(r, SLOTS)?,
            slots_used: gauge(r, SLOTS_USED)?,
            workflow_tasks: counters(r, WORKFLOW_TASKS, &["workflow", "outcome"])?,
            workflow_task_seconds: histogram(r, WORKFLOW_TASK_SECONDS, FAST)?,
            replays: counter(r, REPLAYS)?,
            replay_seconds: histogram(r, REPLAY_SECONDS, FAST)?,
            cache_hits: counter(r, CACHE_HITS)?,
            cache_misses: counter(r, CACHE_MISSES)?,
            cache_size: gauge(r, CACHE_SIZE)?,
            cache_evictions: counter(r, CACHE_EVICTIONS)?,
            registry,
        })
    }

    /// The metrics of one activity type.
    pub(crate) fn activity(&self, activity: &str) -> ActivityMetrics {
        let ended = |outcome| self.attempts.with_label_values(&[activity, outcome]);
        ActivityMetrics {
            completed: ended("completed"),
            failed: ended("failed"),
            cancelled: ended("cancelled"),
            timed_out: ended("timed_out"),
            panicked: ended("panicked"),
            lost: ended("lost"),
            schedule_to_start: self.schedule_to_start.with_label_values(&[activity]),
            execution: self.execution.with_label_values(&[activity]),
        }
    }

    /// Counts a task for an activity type that the worker has no code for.
    pub(crate) fn refused(&self) {
        self.attempts.with_label_values(&["_unknown", "refused"]).inc();
    }

    /// Counts an answered workflow task; `workflow` is `None` for a type that the worker has no code for.
    pub(crate) fn workflow_task(&self, workflow: Option<&str>, answered: Answered) {
        let outcome = match answered {
            Answered::Commands => "commands",
            Answered::Query => "query",
            Answered::QueryFailed => "query_failed",
            Answered::Stalled(kind) => kind.name(),
            Answered::Busy => "busy",
        };
        self.workflow_tasks.with_label_values(&[workflow.unwrap_or("_unknown"), outcome]).inc();
    }
}

impl ActivityMetrics {
    pub(crate) fn started(&self, waited: Duration) {
        self.schedule_to_start.observe(waited.as_secs_f64());
    }

    pub(crate) fn ran(&self, ran: Duration) {
        self.execution.observe(ran.as_secs_f64());
    }
}

fn counter(registry: &Registry, Definition(name, help): Definition) -> Result<IntCounter, prometheus::Error> {
    let metric = IntCounter::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, Definition(name, help): Definition) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(
    registry: &Registry,
    Definition(name, help): Definition,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(
    registry: &Registry,
    Definition(name, help): Definition,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histograms(
    registry: &Registry,
    Definition(name, help): Definition,
    buckets: &[f64],
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
