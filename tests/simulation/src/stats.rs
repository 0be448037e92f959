//! What was injected into a run and what happened in it.

/// What was injected and what happened, to prove that a run was a test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records stored.
    pub commits: u64,
    /// Planned faults: kills, pauses, caches that were dropped, streams that were full.
    pub faults: u64,
    /// Orchestrators that were killed.
    pub orchestrator_crashes: u64,
    /// Orchestrators that were told to end, and did.
    pub clean_ends: u64,
    /// Workers that were killed.
    pub worker_crashes: u64,
    /// Processes that were paused.
    pub pauses: u64,
    /// Messages that did not arrive.
    pub lost_messages: u64,
    /// Messages that arrived, and whose sender was not told.
    pub lost_acks: u64,
    /// Core NATS messages that did not arrive.
    pub lost_core: u64,
    /// Appends that lost against another writer.
    pub fenced: u64,
    /// Repeats that the server recognised.
    pub duplicates: u64,
    /// Messages refused for want of room.
    pub full: u64,
    /// Tasks that were handed out again.
    pub redelivered: u64,
    /// Runs dropped from memory.
    pub evictions: u64,
    /// Histories replayed by workers.
    pub replays: u64,
    /// Tasks that a successor found unpublished.
    pub recovered: u64,
    /// Events that were read again after a restart.
    pub reread: u64,
    /// Partitions that were taken.
    pub taken: u64,
    /// Partitions that were taken from a member that was taken for dead.
    pub inherited: u64,
    /// Members that were taken for dead and were found alive when they were asked for once more.
    pub found_alive: u64,
    /// Partitions that were handed over.
    pub handed_over: u64,
    /// Partitions whose owner found out that somebody else has them.
    pub lost_leases: u64,
    /// Members that could not renew in time and became new ones.
    pub memberships_over: u64,
    /// Keys of the dead that were removed.
    pub buried: u64,
    /// Looks that were answered by somebody who was behind.
    pub stale_looks: u64,
    /// Holds that somebody laid.
    pub holds: u64,
    /// Packs of reports that were sent.
    pub packs: u64,
}

impl Stats {
    /// How many faults were injected.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.faults
            + self.orchestrator_crashes
            + self.worker_crashes
            + self.pauses
            + self.lost_messages
            + self.lost_acks
            + self.lost_core
            + self.full
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        for ((_, sum), (_, more)) in self.fields().into_iter().zip(other.clone().fields()) {
            *sum += *more;
        }
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let mut copy = self.clone();
        copy.fields().into_iter().filter(|(_, count)| **count == 0).map(|(name, _)| name).collect()
    }

    fn fields(&mut self) -> [(&'static str, &mut u64); 27] {
        [
            ("commits", &mut self.commits),
            ("faults", &mut self.faults),
            ("orchestrator_crashes", &mut self.orchestrator_crashes),
            ("clean_ends", &mut self.clean_ends),
            ("worker_crashes", &mut self.worker_crashes),
            ("pauses", &mut self.pauses),
            ("lost_messages", &mut self.lost_messages),
            ("lost_acks", &mut self.lost_acks),
            ("lost_core", &mut self.lost_core),
            ("fenced", &mut self.fenced),
            ("duplicates", &mut self.duplicates),
            ("full", &mut self.full),
            ("redelivered", &mut self.redelivered),
            ("evictions", &mut self.evictions),
            ("replays", &mut self.replays),
            ("recovered", &mut self.recovered),
            ("reread", &mut self.reread),
            ("taken", &mut self.taken),
            ("inherited", &mut self.inherited),
            ("found_alive", &mut self.found_alive),
            ("handed_over", &mut self.handed_over),
            ("lost_leases", &mut self.lost_leases),
            ("memberships_over", &mut self.memberships_over),
            ("buried", &mut self.buried),
            ("stale_looks", &mut self.stale_looks),
            ("holds", &mut self.holds),
            ("packs", &mut self.packs),
        ]
    }
}
