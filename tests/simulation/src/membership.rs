//! An orchestrator as a member: it joins, renews its key, looks who is there and has done what follows. A member
//! that was not renewed in time is over for good; its process joins as another one.

use std::collections::BTreeMap;

use stepwell_orchestrator_core::ownership::{Ownership, Snapshot, Step};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::Member;
use stepwell_shared::subject::{Bucket, member_key};

use super::keeper::{Batch, Keeper, Order};
use super::knobs::LEASE_MS;
use super::orchestrator::{Asked, Orchestrator};
use super::wire::{Call, Failed, MemberAlarm, Request};
use super::world::World;
use crate::backend::{Acked, Message, Refusal};

/// How often the key is renewed, and how long the answer is waited for.
const RENEW_MS: u64 = LEASE_MS / 4;

/// How soon a renewal that failed is tried again.
const TRY_MS: u64 = LEASE_MS / 10;

/// How often it is looked who is there, and how long that may take.
pub(crate) const LOOK_MS: u64 = LEASE_MS / 10;
const LONGEST_LOOK_MS: u64 = 2_000;

/// How long a member may act after it began a renewal that succeeded.
const GOOD_MS: u64 = LEASE_MS * 3 / 4;

/// How long it may take to give back what is left when a membership is over.
const LONGEST_STOP_MS: u64 = 15_000;

/// One membership, from joining to its end. Times are those of the process's monotonic clock.
pub(crate) struct Term {
    pub(crate) number: u64,
    pub(crate) id: MemberId,
    pub(crate) ownership: Ownership,
    pub(crate) keepers: BTreeMap<u32, Keeper>,
    pub(crate) batches: BTreeMap<u64, Batch>,
    /// It may not act any more.
    pub(crate) over: bool,
    revision: u64,
    beat: u64,
    joined_ms: u64,
    renewed_ms: u64,
    renewal: Option<Call>,
    renewal_planned: u64,
    /// It says that it is ending.
    told: bool,
    snapshot: Snapshot,
    look: Option<(Call, u64)>,
    look_again: bool,
}

impl Orchestrator {
    /// Whether it was renewed a short while ago, as it is when nothing holds it up, and has been there for long
    /// enough to know who is alive and whether a hold is over.
    pub(crate) fn is_well(&self, world: &World) -> bool {
        let now_ms = world.monotonic_ms(self.pid);
        self.term.as_ref().is_some_and(|term| {
            now_ms < term.renewed_ms + LEASE_MS / 2 && now_ms > term.joined_ms + LEASE_MS + 2 * LOOK_MS
        })
    }

    pub(crate) fn join(&mut self, world: &mut World) {
        let id = MemberId::new(format!("member-{}", world.number())).expect("letters and digits");
        let asked_ms = world.monotonic_ms(self.pid);
        let request = Request::Publish(member_message(world, &id, 0, false, 0));
        self.ask(world, request, Asked::Join { id, asked_ms });
    }

    pub(crate) fn joined(
        &mut self,
        world: &mut World,
        id: MemberId,
        asked_ms: u64,
        result: Result<Acked, Failed>,
    ) {
        let Ok(ack) = result else { return self.alarm(world, TRY_MS, MemberAlarm::Join) };
        world.note(self.pid, || format!("is {id}"));
        world.set_limit(self.pid, asked_ms + GOOD_MS);
        self.term = Some(Term {
            number: world.number(),
            ownership: Ownership::new(id.clone(), world.partitions, LEASE_MS),
            id,
            keepers: BTreeMap::new(),
            batches: BTreeMap::new(),
            over: false,
            revision: ack.sequence,
            beat: 0,
            joined_ms: world.monotonic_ms(self.pid),
            renewed_ms: asked_ms,
            renewal: None,
            renewal_planned: 0,
            told: false,
            snapshot: Snapshot::default(),
            look: None,
            look_again: false,
        });
        self.announce_change(world);
        self.plan_renewal(world, RENEW_MS);
        let term = self.term.as_ref().map_or(0, |term| term.number);
        self.alarm(world, 0, MemberAlarm::Look(term));
    }

    pub(crate) fn alarmed(&mut self, world: &mut World, alarm: MemberAlarm) {
        let renewal = self.term.as_ref().and_then(|term| term.renewal);
        match alarm {
            MemberAlarm::Join => self.join(world),
            MemberAlarm::Renew(planned) => {
                if self.term.as_ref().is_some_and(|term| term.renewal_planned == planned) {
                    self.renew(world);
                }
            }
            MemberAlarm::RenewalLost(call) => {
                if renewal == Some(call) {
                    self.renewed(world, call, 0, Err(Failed::Unknown));
                }
            }
            MemberAlarm::Look(term) => {
                if self.term.as_ref().is_some_and(|now| now.number == term) {
                    self.alarm(world, LOOK_MS, MemberAlarm::Look(term));
                    self.look(world);
                }
            }
            MemberAlarm::LookLost(call) => self.looked(world, call, None),
            MemberAlarm::Drain(keeper) => self.drain_no_longer(world, keeper),
            MemberAlarm::Leave(term) => {
                if self.term.as_ref().is_some_and(|now| now.number == term) {
                    self.leave(world);
                }
            }
        }
    }

    fn plan_renewal(&mut self, world: &mut World, after_ms: u64) {
        let planned = world.number();
        let Some(term) = &mut self.term else { return };
        term.renewal_planned = planned;
        self.alarm(world, after_ms, MemberAlarm::Renew(planned));
    }

    pub(crate) fn renew(&mut self, world: &mut World) {
        let leaving = self.leaving;
        let Some(term) = &mut self.term else { return };
        if term.over || term.renewal.is_some() {
            return;
        }
        term.told = leaving;
        term.renewal_planned = 0;
        let (id, beat, revision) = (term.id.clone(), term.beat + 1, term.revision);
        let asked_ms = world.monotonic_ms(self.pid);
        let request = Request::Publish(member_message(world, &id, beat, leaving, revision));
        let call = self.ask(world, request, Asked::Renewal { asked_ms });
        if let Some(term) = &mut self.term {
            term.renewal = Some(call);
        }
        self.alarm(world, RENEW_MS, MemberAlarm::RenewalLost(call));
    }

    pub(crate) fn renewed(
        &mut self,
        world: &mut World,
        call: Call,
        asked_ms: u64,
        result: Result<Acked, Failed>,
    ) {
        let valid = world.valid(self.pid);
        let Some(term) = self.term.as_mut().filter(|term| term.renewal == Some(call)) else { return };
        match result {
            Ok(ack) => {
                if !valid {
                    return self.over(world, "it was renewed too late");
                }
                term.revision = ack.sequence;
                term.beat += 1;
                term.renewed_ms = asked_ms;
                world.set_limit(self.pid, asked_ms + GOOD_MS);
                self.renewal_over(world, RENEW_MS);
            }
            Err(Failed::Refused(Refusal::WrongLastSequence)) => {
                // One of unknown outcome may have landed. It counts as under way until that is known.
                let (key, term) = (member_key(&term.id), term.number);
                self.ask(world, Request::Revision(key), Asked::OwnRevision { term });
            }
            Err(Failed::Refused(Refusal::NoStream | Refusal::Full) | Failed::Unknown) => {
                self.renewal_over(world, TRY_MS);
            }
        }
    }

    pub(crate) fn learned_revision(&mut self, world: &mut World, term: u64, revision: Option<u64>) {
        let Some(term) = self.term.as_mut().filter(|it| it.number == term && !it.over) else { return };
        match revision {
            Some(revision) if revision <= term.revision => self.over(world, "its key was removed"),
            Some(revision) => {
                term.revision = revision;
                self.renewal_over(world, TRY_MS);
            }
            None => self.renewal_over(world, TRY_MS),
        }
    }

    fn renewal_over(&mut self, world: &mut World, next_ms: u64) {
        let (now_ms, leaving) = (world.monotonic_ms(self.pid), self.leaving);
        let sure = world.sabotage == super::knobs::Sabotage::NoValidity;
        let Some(term) = &mut self.term else { return };
        term.renewal = None;
        if now_ms > term.renewed_ms + GOOD_MS && !sure {
            return self.over(world, "it was not renewed in time");
        }
        let next_ms = if leaving && !term.told { 0 } else { next_ms };
        self.plan_renewal(world, next_ms);
    }

    /// The membership is over: everything is dropped, and somebody else may have it.
    fn over(&mut self, world: &mut World, why: &str) {
        let pid = self.pid;
        let Some(term) = &mut self.term else { return };
        let id = term.id.clone();
        world.note(pid, || format!("is not {id} any more: {why}"));
        world.stats.memberships_over += 1;
        world.settled = false;
        world.set_limit(pid, 0);
        term.over = true;
        term.renewal = None;
        term.renewal_planned = 0;
        let number = term.number;
        let partitions: Vec<u32> = term.keepers.keys().copied().collect();
        self.alarm(world, LONGEST_STOP_MS, MemberAlarm::Leave(number));
        for partition in partitions {
            self.order(world, partition, Order::Stop);
        }
        self.leave_if_idle(world);
    }

    /// Goes when nothing is left to be given back.
    pub(crate) fn leave_if_idle(&mut self, world: &mut World) {
        let Some(term) = &self.term else { return };
        let ready = term.over || (self.leaving && term.ownership.is_idle());
        if ready && term.keepers.is_empty() {
            self.leave(world);
        }
    }

    fn leave(&mut self, world: &mut World) {
        let Some(term) = self.term.take() else { return };
        world.set_limit(self.pid, 0);
        let key = member_key(&term.id);
        world.ask(self.pid, Request::Remove { key, revision: term.revision });
        for keeper in term.keepers.into_values() {
            keeper.engine.into_iter().for_each(|engine| self.haunt(*engine));
        }
        self.announce_change(world);
        if self.leaving { self.exit(world) } else { self.join(world) }
    }

    /// Asks who is there and who has what.
    pub(crate) fn look(&mut self, world: &mut World) {
        let Some(term) = self.term.as_mut().filter(|term| !term.over) else { return };
        if term.look.is_some() {
            term.look_again = true;
            return;
        }
        let asked_ms = world.monotonic_ms(self.pid);
        let call = self.ask(world, Request::Owners, Asked::Look);
        if let Some(term) = &mut self.term {
            term.look = Some((call, asked_ms));
        }
        self.alarm(world, LONGEST_LOOK_MS, MemberAlarm::LookLost(call));
    }

    /// What was read, or nothing in time: then what was read before counts.
    pub(crate) fn looked(&mut self, world: &mut World, call: Call, snapshot: Option<Snapshot>) {
        let Some(term) = self.term.as_mut().filter(|term| !term.over) else { return };
        let Some((_, asked_ms)) = term.look.take_if(|(asked, _)| *asked == call) else { return };
        if let Some(snapshot) = snapshot {
            term.snapshot = snapshot;
        }
        let steps = term.ownership.look(&term.snapshot, asked_ms);
        if !steps.is_empty() {
            world.settled = false;
        }
        let hold = term.snapshot.hold.as_ref().map_or(0, |hold| hold.revision);
        let batch = world.number();
        for step in steps {
            let pid = self.pid;
            world.note(pid, || format!("{step:?}"));
            match step {
                Step::Take { partition, epoch, expected, from } => {
                    let keeper = Keeper::new(world.number(), partition, epoch, expected, batch);
                    self.take(world, keeper, from, hold);
                }
                Step::HandOver { partition, .. } => self.order(world, partition, Order::HandOver),
                Step::Lose { partition } => {
                    world.stats.lost_leases += 1;
                    self.order(world, partition, Order::Stop);
                }
                Step::Bury { member, revision } => {
                    world.stats.buried += 1;
                    world.ask(pid, Request::Remove { key: member_key(&member), revision });
                }
            }
            if !world.alive(pid) {
                return;
            }
        }
        self.pass_what_is_not_ours(world);
        self.leave_if_idle(world);
        if let Some(term) = &mut self.term
            && std::mem::take(&mut term.look_again)
        {
            self.look(world);
        }
    }

    fn pass_what_is_not_ours(&mut self, world: &mut World) {
        let keepers = self.term.iter_mut().flat_map(|term| term.keepers.values_mut());
        keepers
            .filter_map(|keeper| keeper.engine.as_mut())
            .for_each(|engine| engine.pass_what_is_not_ours(world));
    }
}

fn member_message(world: &World, id: &MemberId, beat: u64, leaving: bool, expected: u64) -> Message {
    let value = Member { v: VERSION, host: String::new(), process: 0, since_ms: 0, beat, leaving };
    let subject = Bucket::Owners.subject(&world.namespace, &member_key(id));
    Message::new(subject, encode(&value)).after(expected)
}
