//! Starting workflows and hearing of their ends, over the wire format: the driver costs as little as it
//! can, because it shares the machine with what it measures.

use anyhow::{Context as _, Result, bail};
use async_nats::{HeaderMap, Subscriber};
use futures_util::StreamExt as _;
use stepwell_connection::Connection;
use stepwell_shared::api::Verdict;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::headers::ANSWER_TO;
use stepwell_shared::ids::{Name, WorkflowId};
use stepwell_shared::message::{SignalMessage, StartMessage};
use stepwell_shared::payload::Payload;
use stepwell_shared::subject::{self, EventAddress};
use stepwell_shared::summary::{RunSummary, Status};

use crate::payload::{Plan, text};
use crate::roles::queue;

/// The workflow types of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Activities, one after the other.
    Steps,
    /// Activities, all at once.
    FanOut,
    /// Waits for one signal.
    Signalled,
    /// Sleeps.
    Sleeper,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Steps, Self::FanOut, Self::Signalled, Self::Sleeper];

    /// The name of the workflow type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steps => "bench_steps",
            Self::FanOut => "bench_fan_out",
            Self::Signalled => "bench_signalled",
            Self::Sleeper => "bench_sleeper",
        }
    }

    /// The kind of this name.
    pub(crate) fn named(name: &Name) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name.as_str());
        found.with_context(|| format!("the benchmark has no workflow {name}"))
    }
}

/// The signal that workflows wait for.
pub(crate) const SIGNAL: &str = "go";

/// Workflows of one measurement.
pub(crate) struct Load {
    connection: Connection,
    closed: Subscriber,
    verdicts: Subscriber,
    verdict_inbox: String,
    prefix: String,
    started: u64,
}

/// What the driver hears.
pub(crate) enum Heard {
    /// A workflow completed.
    Closed,
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
        Ok(Self { connection: connection.clone(), closed, verdicts, verdict_inbox, prefix, started: 0 })
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

    /// Waits for the next thing to be heard.
    pub(crate) async fn hear(&mut self) -> Result<Heard> {
        tokio::select! {
            closed = self.closed.next() => {
                let closed = closed.context("the connection is closed")?;
                let summary: RunSummary = decode(&closed.payload)?;
                if summary.status != Status::Completed {
                    bail!("{} ended as {}: {:?}", summary.workflow_id, summary.status.name(), summary.failure);
                }
                Ok(Heard::Closed)
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
                Heard::Closed => return Ok(()),
                Heard::Started(_) => {}
            }
        }
    }

    async fn send_start(&mut self, kind: Kind, plan: &Plan, answer: bool) -> Result<()> {
        self.started += 1;
        let number = format!("{:06}", self.started);
        let id = WorkflowId::new(format!("{}-{number}", self.prefix))?;
        let message = StartMessage {
            v: VERSION,
            queue: queue(),
            input: Payload::encode(plan)?,
            request_id: None,
            run_timeout_ms: None,
            execution_timeout_ms: None,
        };
        let address = EventAddress::Start { workflow_type: Name::new(kind.name())? };
        let subject = subject::event(self.connection.namespace(), &id, &address);
        let headers = answer.then(|| {
            let mut headers = HeaderMap::new();
            headers.insert(ANSWER_TO, format!("{}.{number}", self.verdict_inbox));
            headers
        });
        // The window of acknowledgements bounds what is sent; that it is stored shows in its end.
        self.connection.publisher().publish(subject, headers, encode(&message).into()).await?;
        Ok(())
    }
}
