//! A stretch of time, with what each process used in it and how many steps were made.

use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::jetstream::stream::Info;
use stepwell_shared::subject::Stream;

use super::stage::{Side, Stage};
use super::traffic::Traffic;
use crate::usage;

/// What was seen between two moments.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) steps: u64,
    /// Processor seconds by place.
    pub(crate) cpu: Vec<(&'static str, f64)>,
    /// What went through the server.
    pub(crate) traffic: Traffic,
}

struct Moment {
    at: Instant,
    tasks: u64,
    cpu: Vec<(&'static str, Option<f64>)>,
    traffic: Traffic,
}

impl Window {
    /// Lets `length` pass and looks at a side before and after.
    ///
    /// Steps are counted at the TASKS stream: each step is exactly one message there, for Stepwell as for
    /// the floor.
    pub(crate) async fn watch(stage: &Stage, side: &Side, length: Duration) -> Result<Self> {
        let before = Moment::now(stage, side).await?;
        tokio::time::sleep(length).await;
        let after = Moment::now(stage, side).await?;
        let used = before.cpu.iter().zip(&after.cpu);
        let used = used.filter_map(|((place, before), (_, after))| Some((*place, (*after)? - (*before)?)));
        Ok(Self {
            seconds: (after.at - before.at).as_secs_f64(),
            steps: after.tasks - before.tasks,
            cpu: used.collect(),
            traffic: after.traffic.since(before.traffic),
        })
    }

    pub(crate) fn steps_per_second(&self) -> f64 {
        self.steps as f64 / self.seconds
    }

    pub(crate) fn ms_per_step(&self) -> f64 {
        self.seconds * 1_000.0 / self.steps as f64
    }

    /// Processor seconds of all processes.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.cpu.iter().map(|(_, seconds)| seconds).sum()
    }
}

impl Moment {
    async fn now(stage: &Stage, side: &Side) -> Result<Self> {
        let traffic = Traffic::now(stage.monitoring_port).await?;
        let name = Stream::Tasks.name(side.connection.namespace());
        let info: Info = side.connection.api(format!("STREAM.INFO.{name}"), &()).await?;
        let at = Instant::now();
        let pids = stage.pids(side);
        let cpu = pids.into_iter().map(|(place, pid)| (place, usage::cpu_seconds(pid))).collect();
        Ok(Self { at, tasks: info.state.last_sequence, cpu, traffic })
    }
}
