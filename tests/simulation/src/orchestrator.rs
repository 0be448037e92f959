//! An orchestrator process: what happens to it goes to its membership, or to the engine of one of its partitions.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_orchestrator_core::Workflow;
use stepwell_shared::ids::{MemberId, WorkflowId};

use super::engine::Engine;
use super::keeper::{Keeper, Order};
use super::knobs::Sabotage;
use super::membership::Term;
use super::wire::{Alarm, Answer, Call, EngineAlarm, Kind, MemberAlarm, Pid, Request, What};
use super::world::World;

/// An orchestrator process.
pub(crate) struct Orchestrator {
    pub(crate) pid: Pid,
    /// Its wall clock against the world's.
    pub(crate) skew_ms: i64,
    /// It was told to end.
    pub(crate) leaving: bool,
    pub(crate) term: Option<Term>,
    pub(crate) calls: BTreeMap<Call, Asked>,
    workers: BTreeSet<String>,
    /// Engines that may not act any more, and whose drives have not noticed.
    ghosts: Vec<Engine>,
}

/// What a member asked for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Join {
        id: MemberId,
        asked_ms: u64,
    },
    Renewal {
        asked_ms: u64,
    },
    OwnRevision {
        term: u64,
    },
    Look,
    /// The rest is about a keeper of this number.
    NoHold(u64),
    Confirm(u64),
    Lease(u64),
    Save(u64),
    Release(u64),
    /// What is on TASKS, for everything that is taken together.
    Tasks(u64),
}

impl Orchestrator {
    pub(crate) fn new(world: &mut World, pid: Pid) -> Self {
        let skew_ms = i64::try_from(world.dice.orchestrator.below(4_000)).unwrap_or(0) - 2_000;
        Self {
            pid,
            skew_ms,
            leaving: false,
            term: None,
            calls: BTreeMap::new(),
            workers: BTreeSet::new(),
            ghosts: Vec::new(),
        }
    }

    /// What happens to the process.
    pub(crate) fn handle(&mut self, world: &mut World, what: What) {
        match what {
            What::Begin => self.join(world),
            What::Answer { call, answer } => match self.calls.remove(&call) {
                Some(asked) => self.answered(world, call, asked, answer),
                None => self.answered_engine(world, call, answer),
            },
            What::Alarm(Alarm::Member(alarm)) => self.alarmed(world, alarm),
            What::Alarm(Alarm::Engine(number, alarm)) => self.alarmed_engine(world, number, alarm),
            What::Announced { worker } => {
                self.workers.insert(worker.clone());
                self.each_engine(world, |world, engine| engine.worker_appeared(world, worker.clone()));
            }
            What::OwnersChanged => self.look(world),
            What::Stop => self.stop(world),
            What::Evict => self.each_engine(world, |world, engine| engine.evict(world, 0)),
            What::Alarm(
                Alarm::Activity(_) | Alarm::Progress(_) | Alarm::Reports | Alarm::Pack(_) | Alarm::Client(_),
            )
            | What::Task { .. }
            | What::CancelActivity(_)
            | What::Arrives { .. }
            | What::Overdue
            | What::Spawn(_)
            | What::Fault
            | What::Hold(_)
            | What::Room(_) => {}
        }
    }

    fn answered(&mut self, world: &mut World, call: Call, asked: Asked, answer: Answer) {
        match (asked, answer) {
            (Asked::Join { id, asked_ms }, Answer::Published(result)) => {
                self.joined(world, id, asked_ms, result);
            }
            (Asked::Renewal { asked_ms }, Answer::Published(result)) => {
                self.renewed(world, call, asked_ms, result);
            }
            (Asked::OwnRevision { term }, Answer::Revision(revision)) => {
                self.learned_revision(world, term, revision);
            }
            (Asked::Look, Answer::Owners(snapshot)) => self.looked(world, call, Some(snapshot)),
            (Asked::NoHold(keeper), Answer::Revision(revision)) => self.not_held(world, keeper, revision),
            (Asked::Confirm(keeper), Answer::Revision(revision)) => self.confirmed(world, keeper, revision),
            (Asked::Lease(keeper), Answer::Published(result)) => self.taken(world, keeper, result),
            (Asked::Save(keeper), Answer::Published(_)) => self.saved(world, keeper),
            (Asked::Release(keeper), Answer::Published(result)) => {
                self.released(world, keeper, result.is_ok());
            }
            (Asked::Tasks(batch), Answer::TaskIds(ids, last)) => self.tasks_read(world, batch, ids, last),
            (asked, answer) => world.complaints.push(format!("{asked:?} was answered by {answer:?}")),
        }
    }

    fn answered_engine(&mut self, world: &mut World, call: Call, answer: Answer) {
        let Some((engine, waiting)) =
            self.engines().find_map(|engine| engine.calls.remove(&call).map(|waiting| (engine, waiting)))
        else {
            return;
        };
        let (number, was_active) = (engine.number, engine.is_active());
        engine.answered(world, waiting, answer);
        if engine.is_active() && !was_active {
            for worker in self.workers.clone() {
                if let Some(engine) = self.engines().find(|engine| engine.number == number) {
                    engine.worker_appeared(world, worker);
                }
            }
        }
        self.after_work(world);
    }

    fn alarmed_engine(&mut self, world: &mut World, number: u64, alarm: EngineAlarm) {
        let found = self.engines().find(|engine| engine.number == number);
        found.into_iter().for_each(|engine| engine.alarmed(world, alarm.clone()));
        self.after_work(world);
    }

    fn each_engine(&mut self, world: &mut World, mut work: impl FnMut(&mut World, &mut Engine)) {
        let alive = self.engines().filter(|engine| engine.is_active());
        alive.for_each(|engine| work(world, engine));
        self.after_work(world);
    }

    /// All engines, those too that have not noticed their end.
    fn engines(&mut self) -> impl Iterator<Item = &mut Engine> {
        let keepers = self.term.iter_mut().flat_map(|term| term.keepers.values_mut());
        keepers.filter_map(|keeper| keeper.engine.as_deref_mut()).chain(&mut self.ghosts)
    }

    fn after_work(&mut self, world: &mut World) {
        self.ghosts.retain(|engine| !engine.is_gone());
        self.save_what_is_drained(world);
    }

    /// An engine may not act any more; what its drives do until they notice is fenced.
    pub(crate) fn haunt(&mut self, mut engine: Engine) {
        engine.stopping = true;
        engine.ended = true;
        if engine.is_active() {
            self.ghosts.push(engine);
        }
    }

    /// The process is told to end.
    fn stop(&mut self, world: &mut World) {
        world.note(self.pid, || "is told to end".into());
        self.leaving = true;
        world.settled = false;
        if self.term.is_none() || world.sabotage == Sabotage::NoHandOver {
            return self.exit(world);
        }
        if let Some(term) = &mut self.term {
            term.ownership.leave();
        }
        self.renew(world);
        self.look(world);
    }

    pub(crate) fn exit(&mut self, world: &mut World) {
        world.note(self.pid, || "has ended".into());
        world.ended(self.pid);
        world.plan_return();
    }

    pub(crate) fn ask(&mut self, world: &mut World, request: Request, asked: Asked) -> Call {
        let call = world.ask(self.pid, request);
        self.calls.insert(call, asked);
        call
    }

    pub(crate) fn alarm(&self, world: &mut World, after_ms: u64, alarm: MemberAlarm) {
        world.alarm(self.pid, after_ms, Alarm::Member(alarm));
    }

    /// Tells the other members that it is worth to look.
    pub(crate) fn announce_change(&self, world: &mut World) {
        world.tell_all(Kind::Orchestrator, &What::OwnersChanged);
    }

    /// The member that it is, if it is one and nothing is about to change that.
    pub(crate) fn member(&self) -> Option<&MemberId> {
        let term = self.term.as_ref().filter(|term| !term.over && !self.leaving)?;
        Some(&term.id)
    }

    /// Whether it works at a partition, all of which was read that was left, and nothing else is wanted.
    pub(crate) fn works_at(&self, partition: u32) -> bool {
        self.keeper(partition).is_some_and(|keeper| {
            keeper.order == Order::Work && keeper.engine.as_ref().is_some_and(|engine| engine.caught_up)
        })
    }

    /// How many partitions it has, takes or gives back.
    pub(crate) fn keeps(&self) -> usize {
        self.term.as_ref().map_or(0, |term| term.keepers.len())
    }

    fn keeper(&self, partition: u32) -> Option<&Keeper> {
        self.term.as_ref()?.keepers.get(&partition)
    }

    /// What it has and does, for a failure's report.
    pub(crate) fn state(&self, world: &World) -> String {
        let keepers = self.term.iter().flat_map(|term| term.keepers.values());
        let name = world.name_of(self.pid);
        let begin = format!("\n{name}: {:?}, leaving: {}", self.member(), self.leaving);
        keepers.fold(begin, |text, keeper| text + &format!("\n  {keeper}"))
    }

    /// Whether everything that was begun is done, for the end of a run.
    pub(crate) fn behind(&self, world: &mut World) -> Vec<String> {
        let keepers = self.term.iter().flat_map(|term| term.keepers.values());
        keepers.filter_map(|keeper| keeper.engine.as_ref()?.behind(world)).collect()
    }

    /// A workflow in memory with nothing to do.
    pub(crate) fn idle_workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        let keepers = self.term.iter().flat_map(|term| term.keepers.values());
        keepers.filter_map(|keeper| keeper.engine.as_ref()?.idle_workflow(id)).next()
    }
}
