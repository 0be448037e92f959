//! What the server does with what arrives.

use stepwell_orchestrator_core::ownership::Snapshot;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Bucket, Stream, partition_events};

use super::wire::{Answer, Call, Failed, Pid, Request, What};
use super::world::{ACK_TIMEOUT_MS, OWNERS_PREFIX, SERVER, World};
use crate::backend::{Acked, KeyValue, Log, Message, Queue, Refusal, matches};

impl World {
    pub(super) fn execute(&mut self, from: Pid, call: Call, sent_ms: u64, request: Request) {
        let answer = match request {
            Request::Publish(message) => {
                let published = self.publish(from, sent_ms, message);
                if published.is_ok() && self.faulty() && self.dice.faults.chance(self.knobs.lost) {
                    self.stats.lost_acks += 1;
                    self.note(from, || "an acknowledgement is lost".into());
                    let answer = Answer::Published(Err(Failed::Unknown));
                    self.at(self.now_ms + ACK_TIMEOUT_MS, from, What::Answer { call, answer });
                    return;
                }
                Answer::Published(published.map_err(Failed::Refused))
            }
            Request::Events { partition, from: first } => {
                self.event_readers.push((from, call, partition, first));
                return self.serve_readers();
            }
            Request::History { subject } => {
                let messages = self.server.read(Stream::History(Shard::FIRST), &subject, 0, usize::MAX);
                let last = self.server.last_of(Stream::History(Shard::FIRST), &subject);
                Answer::History(messages, last)
            }
            Request::TaskIds => {
                let all = stepwell_shared::subject::all_tasks(&self.namespace, Shard::FIRST);
                let tasks = self.server.read(Stream::Tasks(Shard::FIRST), &all, 0, usize::MAX);
                let last = tasks.last().map_or(0, |task| task.sequence);
                Answer::TaskIds(tasks.into_iter().filter_map(|task| task.message_id).collect(), last)
            }
            Request::LastEvent(partition) => Answer::LastEvent(self.last_event(partition)),
            Request::Timers(partition) => {
                let filter = subject::partition_timers(partition);
                let mut entries = self.server.entries(Bucket::Timers);
                entries.retain(|(key, _)| matches(&filter, key));
                Answer::Timers(entries)
            }
            Request::Owners => Answer::Owners(self.owners_seen(from)),
            Request::Revision(key) => Answer::Revision(Some(self.owners.revision(&key))),
            Request::Remove { key, revision } => {
                if self.owners.revision(&key) != 0 && self.owners.revision(&key) <= revision {
                    self.note(from, || format!("{key} is removed"));
                    self.server.remove_up_to(Bucket::Owners, &key, revision);
                    self.owners.changed(self.members_ms(), sent_ms, &key, None);
                }
                return;
            }
            Request::Get { bucket, key } => Answer::Value(self.server.get(bucket, &key)),
            Request::Pull { queue } => {
                self.pulls.push_back((from, call, queue));
                return self.serve_pulls();
            }
            Request::Ack(task) => return self.server.ack(&task),
            Request::InProgress(task) => return self.server.in_progress(&task),
            Request::PurgeBelow { stream, sequence } => return self.server.purge_below(stream, sequence),
        };
        self.answer(from, call, answer);
    }

    /// Who is there and who has what, as whoever answers sees it.
    fn owners_seen(&mut self, from: Pid) -> Snapshot {
        let now_ms = self.members_ms();
        if !self.faulty() || !self.dice.faults.chance(self.knobs.stale) {
            return self.owners.snapshot().clone();
        }
        self.stats.stale_looks += 1;
        self.stale_ms = now_ms;
        let behind_ms = self.dice.faults.between(1, self.knobs.behind_ms);
        self.note(from, || format!("looks at what is {behind_ms} ms old"));
        self.owners.as_of(now_ms.saturating_sub(behind_ms))
    }

    /// The sequence of a partition's last event; 0 when there is none.
    pub(crate) fn last_event(&mut self, partition: u32) -> u64 {
        let filter = partition_events(&self.namespace, partition);
        self.server.read(Stream::Events, &filter, 0, usize::MAX).last().map_or(0, |event| event.sequence)
    }

    fn publish(&mut self, from: Pid, sent_ms: u64, message: Message) -> Result<Acked, Refusal> {
        let subject = message.subject.clone();
        let key = subject.strip_prefix(OWNERS_PREFIX).map(|key| (key.to_owned(), message.body.clone()));
        let published = self.server.publish(message);
        self.note(from, || format!("{subject}: {published:?}"));
        if let (Some((key, body)), Ok(ack)) = (key, published) {
            self.owners.changed(self.members_ms(), sent_ms, &key, Some((ack.sequence, body)));
        }
        match published {
            Ok(ack) => {
                self.stats.duplicates += u64::from(ack.duplicate);
                if matches("stepwell.*.history.>", &subject) {
                    self.stored_ms.insert(ack.sequence, self.now_ms);
                    self.stats.commits += 1;
                } else if matches("stepwell.*.workflow.>", &subject) {
                    let all = format!("stepwell.{}.event.>", self.namespace);
                    self.events.extend(self.server.read(Stream::Events, &all, ack.sequence, 1));
                    self.serve_readers();
                } else if matches("stepwell.*.task.*", &subject) {
                    self.serve_pulls();
                }
            }
            Err(Refusal::WrongLastSequence) => self.stats.fenced += 1,
            Err(Refusal::Full) => self.stats.full += 1,
            Err(Refusal::NoStream) => self.complaints.push(format!("nobody listens on {subject}")),
        }
        published
    }

    fn serve_readers(&mut self) {
        let last = self.server.last_sequence(Stream::Events);
        for (pid, call, partition, from) in std::mem::take(&mut self.event_readers) {
            let filter = partition_events(&self.namespace, partition);
            let mut messages = if from > last {
                Vec::new()
            } else {
                self.server.read(Stream::Events, &filter, from, usize::MAX)
            };
            if messages.is_empty() {
                self.event_readers.push((pid, call, partition, from));
                continue;
            }
            let count = self.dice.network.index(12) + 1;
            let more = messages.len().saturating_sub(count);
            messages.truncate(count);
            self.answer(pid, call, Answer::Events(messages, more));
        }
    }

    fn serve_pulls(&mut self) {
        for (pid, call, queue) in std::mem::take(&mut self.pulls) {
            match self.server.take_task(&queue) {
                Some(task) => {
                    self.stats.redelivered += u64::from(task.num_delivered > 1);
                    self.handed_ms.insert((task.sequence, task.num_delivered), self.now_ms);
                    self.answer(pid, call, Answer::Task(task));
                }
                None => self.pulls.push_back((pid, call, queue)),
            }
        }
        self.plan_overdue();
    }

    /// Plans to look for tasks that are overdue, if somebody waits for one.
    fn plan_overdue(&mut self) {
        let Some((_, _, queue)) = self.pulls.front() else { return };
        let Some(at_ms) = self.server.next_overdue_ms(queue) else { return };
        if self.overdue_at_ms.is_none_or(|planned| planned > at_ms) {
            self.overdue_at_ms = Some(at_ms);
            self.at(at_ms, SERVER, What::Overdue);
        }
    }

    pub(super) fn overdue(&mut self) {
        if self.overdue_at_ms.is_some_and(|at_ms| at_ms > self.now_ms) {
            return;
        }
        self.overdue_at_ms = None;
        self.serve_pulls();
    }
}
