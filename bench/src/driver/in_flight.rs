//! Keeping a number of workflows in flight while something is watched.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::load::{Heard, Kind, Load};
use super::stage::{Side, Stage};
use super::window::Window;
use crate::floor::Sending;
use crate::payload::Plan;

/// The longest that the first workflows are waited for before the measuring begins.
const LONGEST_WARM_UP: Duration = Duration::from_secs(30);

/// What is kept in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    pub(crate) in_flight: usize,
    /// Sequential steps of each workflow.
    pub(crate) steps: u32,
    /// How long it runs at least before it is measured.
    pub(crate) warm_up: Duration,
    /// How long it is measured.
    pub(crate) window: Duration,
}

impl Flight {
    /// Measures the floor. `number` must be new.
    pub(crate) async fn of_floor(self, stage: &Stage, sending: Sending, number: usize) -> Result<Window> {
        let floor = stage.floor.as_ref().context("there is no floor")?;
        self.over(stage, floor, Kind::Floor(sending), &format!("floor-{number:06}")).await
    }

    /// Measures Stepwell. `prefix` begins the workflow ids and must be new.
    pub(crate) async fn of_real(self, stage: &Stage, prefix: &str) -> Result<Window> {
        self.over(stage, &stage.real, Kind::Steps, prefix).await
    }

    async fn over(self, stage: &Stage, side: &Side, kind: Kind, prefix: &str) -> Result<Window> {
        let options = side.crew.options();
        let load = Load::new(&side.connection, prefix).await?.over(options.queues, options.types);
        let (enough, mixed) = (CancellationToken::new(), Notify::new());
        let keep = self.keep(load, kind, enough.clone(), &mixed);
        let watch = async {
            tokio::time::sleep(self.warm_up).await;
            if tokio::time::timeout(LONGEST_WARM_UP, mixed.notified()).await.is_err() {
                eprintln!(
                    "{prefix}: it is slow; what is measured is the first workflows, at different steps each"
                );
            }
            let window = Window::watch(stage, side, self.window).await;
            enough.cancel();
            window
        };
        let (kept, window) = tokio::join!(keep, watch);
        kept?;
        window
    }

    /// Keeps so many workflows in flight until `enough`, then lets them finish. Says when as many have ended as
    /// are in flight: from then on there are about as many at every step, and starts and ends between them.
    async fn keep(self, mut load: Load, kind: Kind, enough: CancellationToken, mixed: &Notify) -> Result<()> {
        let plan = Plan::activities(self.steps);
        for _ in 0..self.in_flight {
            load.start(kind, &plan).await?;
        }
        let (mut open, mut ended) = (self.in_flight, 0);
        while open > 0 {
            match load.hear().await? {
                Heard::Started(_) => continue,
                Heard::Closed(_) if enough.is_cancelled() => open -= 1,
                Heard::Closed(_) => load.start(kind, &plan).await?,
            }
            ended += 1;
            if ended == self.in_flight {
                mixed.notify_one();
            }
        }
        Ok(())
    }
}
