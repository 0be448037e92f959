//! Starting workflows and hearing of their ends, over the wire format: the driver costs as little as it
//! can, because it shares the machine with what it measures.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::{HeaderMap, Subscriber};
use futures_util::StreamExt as _;
use stepwell_bench_measure::payload::text;
use stepwell_connection::Connection;
use stepwell_shared::api::Verdict;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::headers::ANSWER_TO;
use stepwell_shared::ids::{Name, WorkflowId};
use stepwell_shared::message::{SignalMessage, StartMessage};
use stepwell_shared::payload::Payload;
use stepwell_shared::subject::{self, EventAddress};
use stepwell_shared::summary::{RunSummary, Status};

use crate::floor::Sending;
use crate::payload::Plan;
use crate::roles::{queue, steps_type};

/// The workflow types of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Activities, one after the other.
    Steps,
    /// The same, each with the times at which code and activity ran in its payloads.
    Traced,
    /// Activities, all at once.
    FanOut,
    /// Waits for one signal.
    Signalled,
    /// Activities, one after the other, then waits for one signal.
    Long,
    /// Sleeps for so long.
    Sleeper,
    /// Sleeps until a time of the clock.
    SleeperUntil,
    /// Activities whose first attempts fail.
    Flaky,
    /// Steps of the floor.
    Floor(Sending),
}

impl Kind {
    /// Those that workers of the SDK have.
    const CODED: [Self; 8] = [
        Self::Steps,
        Self::Traced,
        Self::FanOut,
        Self::Signalled,
        Self::Long,
        Self::Sleeper,
        Self::SleeperUntil,
        Self::Flaky,
    ];

    /// The name of the workflow type, for the floor without the number of steps.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steps => "bench_steps",
            Self::Traced => "bench_traced",
            Self::FanOut => "bench_fan_out",
            Self::Signalled => "bench_signalled",
            Self::Long => "bench_long",
            Self::Sleeper => "bench_sleeper",
            Self::SleeperUntil => "bench_sleeper_until",
            Self::Flaky => "bench_flaky",
            Self::Floor(_) => "bench_floor",
        }
    }

    /// The kind of this name.
    pub(crate) fn named(name: &Name) -> Result<Self> {
        let found = Self::CODED.into_iter().find(|kind| kind.name() == name.as_str());
        found.with_context(|| format!("the benchmark has no workflow {name}"))
    }
}

/// The signal that workflows wait for.
pub(crate) const SIGNAL: &str = "go";

/// After so long without a word something is wrong.
const SILENCE: Duration = Duration::from_secs(300);

/// Workflows of one measurement.
pub(crate) struct Load {
    connection: Connection,
    closed: Subscriber,
    verdicts: Subscriber,
    verdict_inbox: String,
    prefix: String,
    started: u64,
    queues: usize,
    types: usize,
}

/// What the driver hears.
pub(crate) enum Heard {
    /// A workflow of this type completed.
    Closed(Name),
    /// The start of this workflow was recorded.
    Started(WorkflowId),
}

impl Load {
    /// `prefix` begins the workflow ids and must be new.
    pub(crate) async fn new(connection: &Connection, prefix: &str) -> Result<Self> {
        let client = connection.client();
        let verdict_inbox = client.new_inbox();
        let closed = format!("stepwell.{}.closed.*", connection.namespace());
        let closed = client.subscribe(closed).await?;
        let verdicts = client.subscribe(format!("{verdict_inbox}.*")).await?;
        client.flush().await?;
        let prefix = prefix.to_owned();
        let connection = connection.clone();
        Ok(Self { connection, closed, verdicts, verdict_inbox, prefix, started: 0, queues: 1, types: 1 })
    }

    /// Spreads the workflows over so many queues, and those of sequential steps over so many types.
    pub(crate) fn over(mut self, queues: usize, types: usize) -> Self {
        (self.queues, self.types) = (queues, types);
        self
    }

    /// The id of the workflow that was started as this one, from 1.
    pub(crate) fn id(&self, number: u64) -> Result<WorkflowId> {
        Ok(WorkflowId::new(format!("{}-{number:06}", self.prefix))?)
    }

    /// Starts a workflow; returns when EVENTS has it.
    pub(crate) async fn start(&mut self, kind: Kind, plan: &Plan) -> Result<()> {
        self.send_start(kind, plan, false).await
    }

    /// Starts a workflow and asks to be told when the start is recorded.
    pub(crate) async fn start_and_hear(&mut self, kind: Kind, plan: &Plan) -> Result<()> {
        self.send_start(kind, plan, true).await
    }

    /// Sends the signal.
    pub(crate) async fn signal(&self, id: &WorkflowId) -> Result<()> {
        let message = SignalMessage { v: VERSION, payload: Payload::encode(&text())?, request_id: None };
        let address = EventAddress::Signal { name: Name::new(SIGNAL)? };
        let subject = subject::event(self.connection.namespace(), id, &address);
        self.connection.publisher().publish(subject, None, encode(&message).into()).await?;
        Ok(())
    }

    /// Waits for the next thing to be heard; not for ever.
    pub(crate) async fn hear(&mut self) -> Result<Heard> {
        let heard = tokio::time::timeout(SILENCE, self.hear_patiently()).await;
        heard.with_context(|| format!("nothing was heard of {}-… for {SILENCE:?}", self.prefix))?
    }

    async fn hear_patiently(&mut self) -> Result<Heard> {
        tokio::select! {
            closed = self.closed.next() => {
                let closed = closed.context("the connection is closed")?;
                let summary: RunSummary = decode(&closed.payload)?;
                if summary.status != Status::Completed {
                    bail!("{} ended as {}: {:?}", summary.workflow_id, summary.status.name(), summary.failure);
                }
                Ok(Heard::Closed(summary.workflow_type))
            }
            verdict = self.verdicts.next() => {
                let verdict = verdict.context("the connection is closed")?;
                match serde_json::from_slice(&verdict.payload)? {
                    Verdict::Accepted { .. } => {}
                    other @ (Verdict::Duplicate { .. } | Verdict::Rejected(_)) => bail!("a start: {other:?}"),
                }
                let number = verdict.subject.rsplit('.').next().context("a verdict without a number")?;
                Ok(Heard::Started(WorkflowId::new(format!("{}-{number}", self.prefix))?))
            }
        }
    }

    /// Waits until a workflow completed.
    pub(crate) async fn wait_for_close(&mut self) -> Result<()> {
        loop {
            match self.hear().await? {
                Heard::Closed(_) => return Ok(()),
                Heard::Started(_) => {}
            }
        }
    }

    async fn send_start(&mut self, kind: Kind, plan: &Plan, answer: bool) -> Result<()> {
        self.started += 1;
        let number = self.started;
        let id = self.id(number)?;
        let turn = usize::try_from(number).unwrap_or(0);
        let workflow_type = match kind {
            Kind::Floor(sending) => sending.workflow_type(plan.count),
            Kind::Steps => steps_type(turn % self.types),
            Kind::Traced
            | Kind::FanOut
            | Kind::Signalled
            | Kind::Long
            | Kind::Sleeper
            | Kind::SleeperUntil
            | Kind::Flaky => kind.name().to_owned(),
        };
        let message = StartMessage {
            v: VERSION,
            queue: queue(turn % self.queues),
            input: Payload::encode(plan)?,
            request_id: None,
            run_timeout_ms: None,
            execution_timeout_ms: None,
        };
        let address = EventAddress::Start { workflow_type: Name::new(workflow_type)? };
        let subject = subject::event(self.connection.namespace(), &id, &address);
        let headers = answer.then(|| {
            let mut headers = HeaderMap::new();
            headers.insert(ANSWER_TO, format!("{}.{number:06}", self.verdict_inbox));
            headers
        });
        // The window of acknowledgements bounds what is sent; that it is stored shows in its end.
        self.connection.publisher().publish(subject, headers, encode(&message).into()).await?;
        Ok(())
    }
}
