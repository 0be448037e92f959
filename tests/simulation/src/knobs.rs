//! How hard a run is made, and what is switched off in it.

use super::dice::Dice;

/// How long an orchestrator counts as alive without a sign of life.
pub(crate) const LEASE_MS: u64 = 3_000;

/// How hard a run is made.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    /// Longest way of a message.
    pub(crate) latency_ms: u64,
    /// Messages lost on the way to the server, and acknowledgements lost on the way back, in a thousand.
    pub(crate) lost: u64,
    /// Core NATS messages lost, in a thousand.
    pub(crate) core_lost: u64,
    /// Crashes and pauses at each boundary, in a thousand.
    pub(crate) crash: u64,
    pub(crate) pause: u64,
    /// Until when there are faults.
    pub(crate) faults_until_ms: u64,
    /// How many runs an orchestrator keeps in memory.
    pub(crate) cached_runs: usize,
    /// Records above this size become chains.
    pub(crate) chunk_bytes: usize,
    pub(crate) orchestrators: usize,
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    /// Restarts may take longer than the server remembers message ids.
    pub(crate) long_outages: bool,
    /// Looks at who owns what that are answered by somebody who is behind, in a thousand, and how far that may be.
    pub(crate) stale: u64,
    pub(crate) behind_ms: u64,
    /// How long reports wait for others to go together with. Zero: each goes alone.
    pub(crate) linger_ms: u64,
}

impl Knobs {
    /// Drawn for one run.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let one_of = |dice: &mut Dice, of: &[u64]| of[dice.index(of.len())];
        let count = |dice: &mut Dice, of: &[usize]| of[dice.index(of.len())];
        Self {
            latency_ms: one_of(dice, &[0, 2, 20, 200]),
            lost: one_of(dice, &[0, 5, 20, 80]),
            core_lost: one_of(dice, &[0, 10, 50]),
            crash: one_of(dice, &[0, 2, 8, 25]),
            pause: one_of(dice, &[0, 0, 2, 8]),
            faults_until_ms: one_of(dice, &[3_000, 30_000, 120_000, 900_000]),
            cached_runs: count(dice, &[0, 1, 100]),
            chunk_bytes: count(dice, &[400, 900_000, 900_000]),
            workers: count(dice, &[1, 2, 3]),
            slots: count(dice, &[1, 4, 20]),
            long_outages: dice.chance(150),
            orchestrators: count(dice, &[1, 2, 3, 4]),
            stale: one_of(dice, &[0, 0, 50, 300, 950]),
            behind_ms: one_of(dice, &[500, 4_000, 20_000]),
            linger_ms: one_of(dice, &[0, 20, 1_000, 6_000]),
        }
    }
}

/// What is switched off to see whether the checkers notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    None,
    /// Records are appended without naming the last one.
    NoFence,
    /// Redelivered events are not recognised.
    NoWatermark,
    /// Effects are carried out before the record is stored.
    EffectsFirst,
    /// Events count as done before their effects are confirmed.
    EarlyCheckpoint,
    /// Tasks are published without ids.
    NoTaskIds,
    /// A successor does not look for what was never published.
    NoRecovery,
    /// Workers tell turns of the same record apart by nothing.
    NoMarks,
    /// Whoever stood still goes on as if nothing had happened.
    NoValidity,
    /// Partitions of the dead are taken without asking once more where nothing is behind.
    NoConfirmation,
    /// Partitions are taken without asking once more whether somebody holds all orchestrators.
    NoHoldConfirmation,
    /// A new owner keeps the epoch of the one before.
    SameEpoch,
    /// Whoever ends cleanly goes without giving anything back.
    NoHandOver,
    /// A pack of reports counts as done as soon as one of them does.
    FirstPartOnly,
    /// A run at which somebody has to look again is noted only by who looks, and not by who stops.
    LateNote,
}
