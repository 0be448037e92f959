//! Workflows in flight: a new one is started whenever one ends, until there are enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinSet;

use crate::payload::Plan;
use crate::peer::{Client, Workflow};

/// How long one workflow may take.
const ONE_WORKFLOW: Duration = Duration::from_secs(180);

/// How often it is looked whether enough have ended.
const LOOK: Duration = Duration::from_millis(5);

/// The workflows.
pub(crate) struct Load {
    lanes: JoinSet<Result<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    enough: AtomicBool,
    ended: AtomicU64,
}

impl Load {
    /// Starts so many; `prefix` begins their ids and must be new.
    pub(crate) fn start<C: Client>(
        client: &Arc<C>,
        workflow: Workflow,
        in_flight: usize,
        plan: &Plan,
        prefix: &str,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let mut lanes = JoinSet::new();
        for lane in 0..in_flight {
            let (client, shared, plan) = (client.clone(), shared.clone(), plan.clone());
            let prefix = format!("{prefix}-{lane}");
            lanes.spawn(async move {
                let mut number = 0_u64;
                while !shared.enough.load(Ordering::Relaxed) {
                    run_one(&*client, workflow, &format!("{prefix}-{number}"), &plan).await?;
                    shared.ended.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
                Ok(())
            });
        }
        Self { lanes, shared }
    }

    /// How many have ended so far.
    pub(crate) fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Waits until so many have ended.
    pub(crate) async fn wait_for(&mut self, ended: u64) -> Result<()> {
        while self.ended() < ended {
            if let Some(lane) = self.lanes.try_join_next() {
                lane??;
                bail!("a lane ended before there were enough workflows");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Starts no more and waits for the end of those that are in flight.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.shared.enough.store(true, Ordering::Relaxed);
        while let Some(lane) = self.lanes.join_next().await {
            lane??;
        }
        Ok(())
    }
}

/// Runs one workflow, which must end in time.
pub(crate) async fn run_one<C: Client>(client: &C, workflow: Workflow, id: &str, plan: &Plan) -> Result<()> {
    let ran = tokio::time::timeout(ONE_WORKFLOW, client.run(workflow, id, plan)).await;
    ran.context("it did not end in time").flatten().with_context(|| format!("workflow {id}"))
}
