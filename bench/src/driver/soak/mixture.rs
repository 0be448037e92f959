//! The load: workflows of every kind, so many a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use stepwell_connection::Connection;
use tokio::time::MissedTickBehavior;

use super::super::load::{Heard, Kind, Load};
use crate::payload::Plan;

/// Time between two starts of all that is in [`EACH_TICK`].
const TICK: Duration = Duration::from_millis(100);

/// What is started in each tick: so many of what, with so many activities, or so many milliseconds asleep.
const EACH_TICK: [(usize, Kind, u32, u64); 4] = [
    (4, Kind::Steps, 5, 0),
    (2, Kind::Signalled, 0, 0),
    (2, Kind::Sleeper, 0, 3_000),
    (1, Kind::Flaky, 3, 0),
];

/// Every so many ticks one workflow joins so many activities.
const FAN_OUT: (u64, u32) = (10, 50);

/// With more than so many in flight nothing is started: the machine does not keep up.
const MAX_IN_FLIGHT: usize = 2_000;

/// How long the last ones may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(120);

/// What was started and has ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) started: u64,
    pub(super) closed: u64,
}

pub(super) struct Mixture {
    load: Load,
    ticks: u64,
    skipped: u64,
    counts: Counts,
    closed: BTreeMap<String, u64>,
}

impl Mixture {
    pub(super) async fn new(connection: &Connection) -> Result<Self> {
        let load = Load::new(connection, "soak").await?;
        Ok(Self { load, ticks: 0, skipped: 0, counts: Counts::default(), closed: BTreeMap::new() })
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Starts workflows and hears of their ends until then.
    pub(super) async fn run_until(&mut self, end: Instant) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            tokio::select! {
                _ = ticks.tick() => self.tick().await?,
                heard = self.load.hear() => self.take(heard?).await?,
            }
        }
        Ok(())
    }

    /// Waits until everything that was started has ended.
    pub(super) async fn finish(&mut self) -> Result<()> {
        let rest = async {
            while self.counts.closed < self.counts.started {
                let heard = self.load.hear().await?;
                self.take(heard).await?;
            }
            anyhow::Ok(())
        };
        let ended = tokio::time::timeout(FINISH_TIMEOUT, rest).await;
        let Counts { started, closed } = self.counts;
        ended.with_context(|| format!("of {started} workflows {closed} have ended, and no more do"))?
    }

    /// What was done, for a person.
    pub(super) fn summary(&self) -> String {
        let kinds = self.closed.iter().map(|(name, count)| format!("{count} {name}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        let Self { ticks, skipped, .. } = self;
        format!("workflows that completed: {kinds}; nothing was started in {skipped} of {ticks} ticks")
    }

    async fn tick(&mut self) -> Result<()> {
        self.ticks += 1;
        if self.counts.started - self.counts.closed > MAX_IN_FLIGHT as u64 {
            self.skipped += 1;
            return Ok(());
        }
        for (count, kind, activities, sleep_ms) in EACH_TICK {
            let plan = if sleep_ms > 0 { Plan::sleep(sleep_ms) } else { Plan::activities(activities) };
            for _ in 0..count {
                self.start(kind, &plan).await?;
            }
        }
        let (every, activities) = FAN_OUT;
        if self.ticks.is_multiple_of(every) {
            self.start(Kind::FanOut, &Plan::activities(activities)).await?;
        }
        Ok(())
    }

    async fn start(&mut self, kind: Kind, plan: &Plan) -> Result<()> {
        self.counts.started += 1;
        // Of those that wait for a signal it must be known when they can take it.
        match kind {
            Kind::Signalled => self.load.start_and_hear(kind, plan).await,
            Kind::Steps
            | Kind::Traced
            | Kind::FanOut
            | Kind::Long
            | Kind::Sleeper
            | Kind::SleeperUntil
            | Kind::Flaky
            | Kind::Floor(_) => self.load.start(kind, plan).await,
        }
    }

    async fn take(&mut self, heard: Heard) -> Result<()> {
        match heard {
            Heard::Started(id) => self.load.signal(&id).await,
            Heard::Closed(name) => {
                self.counts.closed += 1;
                *self.closed.entry(name.to_string()).or_default() += 1;
                Ok(())
            }
        }
    }
}
