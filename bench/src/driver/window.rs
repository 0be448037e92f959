//! A stretch of time, with what each process used in it and how many steps were made.

use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::jetstream::stream::Info;
use stepwell_bench_measure::usage;
use stepwell_connection::Connection;
use stepwell_shared::subject::Stream;

use super::stage::{Side, Stage, by_place};
use super::traffic::Traffic;
use crate::report::Places;

/// What was seen between two moments.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// What was done: steps, unless somebody counted something else.
    pub(crate) units: u64,
    /// Processor seconds by place.
    pub(crate) cpu: Places,
    /// What went through the server, where that can be told.
    pub(crate) traffic: Option<Traffic>,
}

/// One look at a side.
pub(crate) struct Moment {
    at: Instant,
    tasks: u64,
    /// The last sequence of HISTORY, of all shards together.
    pub(crate) records: u64,
    cpu: Places,
    traffic: Option<Traffic>,
}

impl Window {
    /// Lets `length` pass and looks at a side before and after.
    pub(crate) async fn watch(stage: &Stage, side: &Side, length: Duration) -> Result<Self> {
        let before = Moment::now(stage, side).await?;
        tokio::time::sleep(length).await;
        Ok(Self::between(&before, &Moment::now(stage, side).await?))
    }

    /// What was seen between two moments.
    ///
    /// Steps are counted at the TASKS streams: each step is exactly one message there, for Stepwell as for
    /// the floor.
    pub(crate) fn between(before: &Moment, after: &Moment) -> Self {
        let cpu = after.cpu.iter().filter_map(|(place, after)| {
            let before = before.cpu.iter().find(|(other, _)| other == place)?.1;
            Some((*place, after - before))
        });
        Self {
            seconds: (after.at - before.at).as_secs_f64(),
            units: after.tasks - before.tasks,
            cpu: cpu.collect(),
            traffic: after.traffic.zip(before.traffic).map(|(after, before)| after.since(before)),
        }
    }

    /// The same, where something else than steps was done so many times.
    pub(crate) fn of(self, units: usize) -> Self {
        Self { units: units as u64, ..self }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.units as f64 / self.seconds
    }

    /// Processor seconds of all processes.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.cpu.iter().map(|(_, seconds)| seconds).sum()
    }
}

impl Moment {
    pub(crate) async fn now(stage: &Stage, side: &Side) -> Result<Self> {
        let traffic = stage.server.traffic().await?;
        let (mut tasks, mut records) = (0, 0);
        for shard in side.connection.shards().await?.all() {
            tasks += stream(&side.connection, Stream::Tasks(shard)).await?.state.last_sequence;
            records += stream(&side.connection, Stream::History(shard)).await?.state.last_sequence;
        }
        let at = Instant::now();
        let cpu = stage.pids(side).into_iter().map(|(place, pid)| (place, usage::cpu_seconds(pid)));
        Ok(Self { at, tasks, records, cpu: by_place(cpu), traffic })
    }
}

/// What the server says of a stream.
pub(crate) async fn stream(connection: &Connection, stream: Stream) -> Result<Info> {
    let name = stream.name(connection.namespace());
    Ok(connection.api(format!("STREAM.INFO.{name}"), &()).await?)
}
