//! Sleepers that come due one after the other in a known time: how late each is woken.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use stepwell_bench_measure::statistics::Samples;
use stepwell_connection::clock::now_ms;
use stepwell_shared::encoding::decode;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};

use super::latency::milliseconds;
use super::load::{Kind, Load};
use super::stage::Stage;
use super::stored;
use super::window::{Moment, Window};
use crate::payload::Plan;
use crate::report::{Section, Table};

/// Sleepers with which it is found out how fast they can be started.
const TRIAL: usize = 1_000;

/// So much longer than it should take to start them all is the first one's sleep.
const MARGIN: f64 = 1.5;

/// At least so long is it in any case.
const MIN_LEAD: Duration = Duration::from_secs(2);

/// Upper ends of the ranges in which delays are counted, in milliseconds.
const RANGES: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1_000.0, 10_000.0, f64::INFINITY];

/// How late sleepers were woken.
pub(crate) struct Wakes {
    /// Milliseconds from the time that was asked for until the record of the wake, which has the code's answer,
    /// was stored.
    pub(crate) late_ms: Samples,
    /// How many were woken before their time.
    pub(crate) early: usize,
    /// How many were not asleep when their time came, and are not counted.
    pub(crate) never_asleep: usize,
    /// From the first that was due to the end of the last.
    pub(crate) window: Window,
}

/// Starts so many sleepers that are due in turn, evenly over `span`, and waits until all have ended.
pub(crate) async fn wake(stage: &Stage, prefix: &str, count: usize, span: Duration) -> Result<Wakes> {
    let mut load = Load::new(&stage.real.connection, prefix).await?;
    let lead = lead(&mut load, count).await?;
    let first = Moment::now(stage, &stage.real).await?;
    let begin = now_ms() + u64::try_from(lead.as_millis())?;
    for number in 0..count {
        let after = span.as_millis() as u64 * number as u64 / count as u64;
        load.start(Kind::SleeperUntil, &Plan::sleep(begin + after)).await?;
    }
    tokio::time::sleep(Duration::from_millis(begin.saturating_sub(now_ms()))).await;
    let before = Moment::now(stage, &stage.real).await?;
    for number in 0..count {
        load.wait_for_close().await.with_context(|| format!("{number} of {count} sleepers have ended"))?;
    }
    let after = Moment::now(stage, &stage.real).await?;
    let mut wakes = read(stage, first.records + 1, after.records).await?;
    let found = wakes.late_ms.len() + wakes.early + wakes.never_asleep;
    ensure!(found == count, "{found} of {count} sleepers are found in the histories");
    wakes.window = Window::between(&before, &after).of(count);
    Ok(wakes)
}

/// How long before the first is due they must begin to be started.
async fn lead(load: &mut Load, count: usize) -> Result<Duration> {
    let trial = TRIAL.min(count);
    let began = Instant::now();
    for _ in 0..trial {
        load.start(Kind::Sleeper, &Plan::sleep(1)).await?;
    }
    for _ in 0..trial {
        load.wait_for_close().await?;
    }
    Ok(MIN_LEAD + began.elapsed().mul_f64(MARGIN * count as f64 / trial as f64))
}

async fn read(stage: &Stage, from: u64, to: u64) -> Result<Wakes> {
    let connection = &stage.real.connection;
    let all = subject::all_histories(connection.namespace());
    let mut due: HashMap<String, i128> = HashMap::new();
    let (mut late, mut early, mut never_asleep) = (Vec::new(), 0, 0);
    stored::read(connection, Stream::History(Shard::FIRST), &all, (from, to), |stored| {
        let record: Record = decode(&stored.body)?;
        for event in &record.events {
            if let Event::RunStarted(started) = event
                && started.workflow_type.as_str() == Kind::SleeperUntil.name()
            {
                let due_ns = i128::from(started.input.decode::<Plan>()?.delay_ms) * 1_000_000;
                if stored.at_ns < due_ns {
                    due.insert(stored.subject.clone(), due_ns);
                } else {
                    never_asleep += 1;
                }
            }
            if matches!(event, Event::TimerFired { .. })
                && let Some(due_ns) = due.remove(&stored.subject)
            {
                if stored.at_ns < due_ns {
                    early += 1;
                } else {
                    late.push(milliseconds(stored.at_ns - due_ns));
                }
            }
        }
        Ok(())
    })
    .await?;
    let window = Window { seconds: 0.0, units: 0, cpu: Vec::new(), traffic: None };
    Ok(Wakes { late_ms: late.into_iter().collect(), early, never_asleep, window })
}

impl Wakes {
    /// Puts the figures into a section; `who` they are begins the labels.
    pub(crate) fn describe(&self, section: &mut Section, who: &str) {
        let late = &self.late_ms;
        let mut once = |key, label: &str, value, digits| {
            section.once(key, &format!("{who}: {label}"), value, digits);
        };
        once("late_ms_p50", "ms late, p50", late.percentile(0.5), 1);
        once("late_ms_p99", "ms late, p99", late.percentile(0.99), 1);
        once("late_ms_max", "ms late, at most", late.range().1, 1);
        once("woken_early", "woken before their time", self.early as f64, 0);
        once("never_asleep", "not asleep in time, not counted", self.never_asleep as f64, 0);
        once("woken_per_second", "woken and ended per second", self.window.per_second(), 0);
        let mut below = 0;
        let rows = RANGES.iter().map(|end| {
            let all = late.count_up_to(*end);
            let label = if end.is_finite() { format!("up to {end:.0}") } else { "more".to_owned() };
            let row = (label, vec![(all - below) as f64]);
            below = all;
            row
        });
        section.table(Table {
            key: "late_by_ms",
            title: "how many were so many ms late".into(),
            columns: vec!["sleepers".into()],
            rows: rows.collect(),
            digits: 0,
        });
        if self.early > 0 {
            section.remark(format!("WRONG: {} sleepers were woken before their time", self.early));
        }
    }
}
