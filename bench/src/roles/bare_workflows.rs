//! Workflow tasks answered by a hand-written loop, without replay: what is left of a step's cost when the
//! SDK's workflow side is taken away.

use std::collections::HashMap;

use anyhow::{Result, bail};
use futures_util::StreamExt as _;
use stepwell_bench_measure::payload::text;
use stepwell_connection::provision::settings;
use stepwell_connection::{Connection, chunked};
use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::history::Event;
use stepwell_shared::ids::{Name, RunId, WorkerId};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::subject;
use stepwell_shared::task::{Answer, Work, WorkflowTask, WorkflowTaskReply};

use super::{ACTIVITY, say_ready};
use crate::driver::Kind;
use crate::payload::Plan;

/// What a run has asked for and got so far.
#[derive(Default)]
struct Progress {
    asked: u32,
    wanted: u32,
    completed: u32,
}

struct Code {
    runs: HashMap<RunId, Progress>,
    payload: Payload,
}

/// Runs until the connection is closed.
pub(super) async fn work(connection: Connection) -> Result<()> {
    settings(&connection).await?;
    let client = connection.client();
    let worker = WorkerId::new("01900000-0000-7000-8000-00000000000a")?;
    let queue = super::queue(0);
    let group = queue.to_string();
    let namespace = connection.namespace();
    let shared = client.queue_subscribe(subject::workflow_task(namespace, &queue), group).await?;
    let sticky = client.subscribe(subject::sticky_workflow_task(namespace, &queue, &worker)).await?;
    client.flush().await?;
    say_ready();
    let mut code = Code { runs: HashMap::new(), payload: Payload::encode(&text())? };
    let mut tasks = futures_util::stream::select(sticky, shared);
    while let Some(message) = tasks.next().await {
        let Some(to) = message.reply else { continue };
        let task: WorkflowTask = decode(&message.payload)?;
        let answer = Answer::Commands { commands: code.turn(task)? };
        let reply = WorkflowTaskReply {
            v: VERSION,
            worker: worker.clone(),
            answer,
            replayed: false,
            takes_packs: false,
        };
        chunked::reply(client, to, encode(&reply)).await?;
    }
    Ok(())
}

impl Code {
    fn turn(&mut self, task: WorkflowTask) -> Result<Vec<Command>> {
        let Work::Turn { events, .. } = task.work else { bail!("a query; this worker answers none") };
        let mut commands = Vec::new();
        let run = self.runs.entry(task.run_id.clone()).or_default();
        let mut over = false;
        for event in events {
            match &event {
                Event::RunStarted(started) => match Kind::named(&started.workflow_type)? {
                    Kind::Steps => {
                        run.wanted = started.input.decode::<Plan>()?.count;
                        run.asked = 1;
                        commands.push(activity(1, &self.payload));
                    }
                    Kind::FanOut => {
                        run.wanted = started.input.decode::<Plan>()?.count;
                        run.asked = run.wanted;
                        commands.extend((1..=run.wanted).map(|seq| activity(seq, &self.payload)));
                    }
                    Kind::Signalled => {}
                    Kind::Sleeper => {
                        let delay_ms = started.input.decode::<Plan>()?.delay_ms;
                        commands.push(Command::StartTimer { seq: 1, delay_ms });
                    }
                    Kind::Traced | Kind::Long | Kind::SleeperUntil | Kind::Flaky | Kind::Floor(_) => {
                        bail!("only workers of the SDK have {}", started.workflow_type)
                    }
                },
                Event::ActivityCompleted { .. } => {
                    run.completed += 1;
                    over = run.completed == run.wanted;
                    if run.asked < run.wanted {
                        run.asked += 1;
                        commands.push(activity(run.asked, &self.payload));
                    }
                }
                Event::SignalReceived { .. } | Event::TimerFired { .. } => over = true,
                Event::CancelRequested { .. }
                | Event::RunTerminated { .. }
                | Event::RunTimedOut { .. }
                | Event::AttemptFailed { .. }
                | Event::AttemptStarted { .. }
                | Event::AttemptRefused { .. }
                | Event::AttemptScheduled { .. }
                | Event::ActivityFailed { .. }
                | Event::ActivityCancelled { .. }
                | Event::CompensationStarted { .. }
                | Event::CompensationCompleted { .. }
                | Event::CompensationFailed { .. }
                | Event::CompensationResolved { .. }
                | Event::CompensationsFinished { .. } => bail!("a benchmark's workflow got {}", event.name()),
            }
        }
        if over {
            self.runs.remove(&task.run_id);
            commands.push(Command::CompleteRun { result: self.payload.clone() });
        }
        Ok(commands)
    }
}

fn activity(seq: u32, payload: &Payload) -> Command {
    Command::RunActivity(RunActivity {
        seq,
        activity_type: Name::new(ACTIVITY).expect("a valid name"),
        queue: super::queue(0),
        input: payload.clone(),
        options: ActivityOptions { start_to_close_ms: Some(30_000), ..ActivityOptions::default() },
        compensation: None,
    })
}
