//! Random programs for workflow code whose answers are known without running them. The simulation runs them, and
//! so do real processes in the verification run, with longer steps left out and some more kinds of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwell_shared::summary::Status;

use super::dice::Dice;

/// The queues that work of real programs goes to, beside that of the workflow.
pub const OTHER_QUEUES: [&str; 2] = ["gpu", "mail"];

/// What a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its steps.
    pub ops: Vec<Op>,
    /// How it ends.
    pub end: End,
}

/// One step of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Do it; fails the run if it is fatal.
    Run(Work),
    /// Do it, and go on if it fails.
    Try(Work),
    /// Wait.
    Sleep(u64),
    /// Wait for the signal of this number.
    Receive(u32),
    /// All of them at once.
    All(Vec<Vec<Op>>),
    /// Every item, so many at once.
    Each(Vec<Work>, usize),
    /// Work against a month of sleep: the work wins.
    Beats(Work),
    /// Sleep against work without end: the sleep wins and the work is cancelled.
    Outlasts(u64, Work),
    /// Two pieces of work of the same value: one wins, the other is cancelled.
    Either(Work, Work),
    /// Undo what was done so far.
    Compensate,
    /// What was done so far stays.
    Pivot,
    /// Wait until a condition holds that the signal of this number makes true.
    Until(u32),
    /// Wait for a signal that never comes, and for a condition that never holds, so long.
    Missing(u64),
    /// Try it once and never again; it may be lost.
    Once(Work),
}

/// How a program ends when nothing fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It returns the sum of what its steps gave.
    Return,
    /// It fails.
    Fail,
    /// It waits until it is cancelled or times out.
    AwaitStop,
}

/// One activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Unique in the program.
    pub node: u32,
    /// What it gives.
    pub value: u64,
    /// How many attempts fail before one works.
    pub transient: u32,
    /// It declines for good.
    pub fatal: bool,
    /// It ends only when it is cancelled.
    pub endless: bool,
    /// How long it takes.
    pub lasts_ms: u64,
    /// The worker is to say when it begins.
    pub announced: bool,
    /// How it is undone, if it is.
    pub undo: Option<Undo>,
    /// The queue, if it is another one than the workflow's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// How many attempts take longer than they may.
    #[serde(default)]
    pub overruns: u32,
    /// It gives signs of life; how many attempts stop giving them. `None`: no signs are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silences: Option<u32>,
}

/// How work is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// How many times it fails for good before it works.
    pub fatal: u32,
    /// How many attempts fail before that.
    pub transient: u32,
    /// The operator skips it when it fails for good.
    pub skip: bool,
}

/// What is known of a piece of work without running the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Done once, and it stays done.
    Done,
    /// Done once, then undone.
    Undone,
    /// Done or not, it lost a race or was cancelled.
    Open,
    /// Never reached, or it declines.
    Never,
    /// Done once at most.
    Once,
}

/// What must come out of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The ways in which the run may close.
    pub statuses: Vec<Status>,
    /// What it returns, if it completes.
    pub result: u64,
    /// What becomes of each piece of work.
    pub fates: BTreeMap<u32, Fate>,
    /// The signals that it waits for, if it gets that far.
    pub signals: Vec<u32>,
}

/// What a signal of this number carries, and adds to the result.
#[must_use]
pub fn signal_value(number: u32) -> u64 {
    1_000_000 + u64::from(number)
}

impl Program {
    /// A random program. `stop`: whether it may wait to be stopped.
    pub fn random(dice: &mut Dice) -> Self {
        Self::made(Maker { dice, node: 0, signal: 0, fatal: false, real: false })
    }

    /// A random program for real processes: it takes seconds, and uses several queues.
    pub fn random_real(dice: &mut Dice) -> Self {
        Self::made(Maker { dice, node: 0, signal: 0, fatal: false, real: true })
    }

    fn made(mut maker: Maker<'_>) -> Self {
        let count = maker.dice.between(1, 6);
        let mut ops = Vec::new();
        for _ in 0..count {
            let op = maker.op(2);
            ops.push(op);
        }
        let end = match maker.dice.below(10) {
            0..=5 => End::Return,
            6 | 7 => End::Fail,
            _ => End::AwaitStop,
        };
        if end == End::AwaitStop {
            // What tells the outside that the program has come to its end.
            ops.push(Op::Run(Work { lasts_ms: 1, ..maker.plain() }));
        }
        Self { ops, end }
    }

    /// All work of the program.
    #[must_use]
    pub fn works(&self) -> Vec<&Work> {
        fn collect<'a>(ops: &'a [Op], into: &mut Vec<&'a Work>) {
            for op in ops {
                match op {
                    Op::Run(work)
                    | Op::Try(work)
                    | Op::Beats(work)
                    | Op::Outlasts(_, work)
                    | Op::Once(work) => into.push(work),
                    Op::Either(left, right) => into.extend([left, right]),
                    Op::Each(works, _) => into.extend(works),
                    Op::All(branches) => branches.iter().for_each(|ops| collect(ops, into)),
                    Op::Sleep(_)
                    | Op::Receive(_)
                    | Op::Until(_)
                    | Op::Missing(_)
                    | Op::Compensate
                    | Op::Pivot => {}
                }
            }
        }
        let mut works = Vec::new();
        collect(&self.ops, &mut works);
        works
    }

    /// The work that tells that a program which waits to be stopped has come to its end.
    #[must_use]
    pub fn last_work(&self) -> Option<&Work> {
        match (self.end, self.ops.last()) {
            (End::AwaitStop, Some(Op::Run(work))) => Some(work),
            _ => None,
        }
    }

    /// What must come out. `by_timeout`: the run is stopped by its timeout, if it waits to be stopped.
    #[must_use]
    pub fn answer(&self, by_timeout: bool) -> Answer {
        let mut known = Known::default();
        let failed = known.walk(&self.ops);
        for work in self.works() {
            known.fates.entry(work.node).or_insert(Fate::Never);
        }
        let plain = match self.end {
            End::Return if !failed => Status::Completed,
            End::AwaitStop if !failed && by_timeout => Status::TimedOut,
            End::AwaitStop if !failed => Status::Cancelled,
            End::Return | End::Fail | End::AwaitStop => Status::Failed,
        };
        let mut statuses = vec![plain];
        if plain != Status::Completed {
            for node in &known.registered {
                if let Some(fate @ (Fate::Done | Fate::Undone)) = known.fates.get_mut(node) {
                    *fate = Fate::Undone;
                }
            }
            if known.undone || !known.registered.is_empty() {
                statuses = vec![Status::Compensated];
            } else if known.perhaps_registered {
                statuses.push(Status::Compensated);
            }
        }
        Answer { statuses, result: known.sum, fates: known.fates, signals: known.signals }
    }
}

#[derive(Default)]
struct Known {
    sum: u64,
    fates: BTreeMap<u32, Fate>,
    /// Work that is undone when the run fails.
    registered: Vec<u32>,
    /// Work of cancelled branches may be registered.
    perhaps_registered: bool,
    undone: bool,
    signals: Vec<u32>,
}

impl Known {
    /// Whether the program fails there.
    fn walk(&mut self, ops: &[Op]) -> bool {
        ops.iter().any(|op| self.step(op))
    }

    fn step(&mut self, op: &Op) -> bool {
        match op {
            Op::Run(work) => {
                self.begin(work);
                self.end(work);
                return work.fatal;
            }
            Op::Try(work) => {
                self.begin(work);
                self.end(work);
            }
            Op::Beats(work) => {
                self.begin(work);
                self.end(work);
            }
            Op::Outlasts(_, work) => {
                self.begin(work);
                // It never comes to the point.
                self.fates.insert(work.node, Fate::Never);
            }
            Op::Either(left, right) => {
                for work in [left, right] {
                    self.begin(work);
                    self.fates.insert(work.node, Fate::Open);
                }
                self.sum = self.sum.wrapping_add(left.value);
            }
            Op::Each(works, _) => {
                for work in works {
                    self.begin(work);
                    self.end(work);
                }
            }
            Op::All(branches) => return self.all(branches),
            Op::Receive(number) | Op::Until(number) => {
                self.signals.push(*number);
                self.sum = self.sum.wrapping_add(signal_value(*number));
            }
            Op::Compensate => {
                for node in std::mem::take(&mut self.registered) {
                    self.undone = true;
                    if let Some(fate @ Fate::Done) = self.fates.get_mut(&node) {
                        *fate = Fate::Undone;
                    }
                }
            }
            Op::Pivot => self.registered.clear(),
            Op::Once(work) => {
                self.fates.insert(work.node, Fate::Once);
            }
            Op::Sleep(_) | Op::Missing(_) => {}
        }
        false
    }

    /// At most one branch fails; how far the others come until then is open.
    fn all(&mut self, branches: &[Vec<Op>]) -> bool {
        let fails = |ops: &[Op]| Known::default().walk(ops);
        let Some(failing) = branches.iter().position(|ops| fails(ops)) else {
            branches.iter().for_each(|ops| {
                self.walk(ops);
            });
            return false;
        };
        for (index, ops) in branches.iter().enumerate() {
            if index == failing {
                self.walk(ops);
                continue;
            }
            let mut other = Known::default();
            other.walk(ops);
            self.signals.extend(other.signals);
            self.perhaps_registered |= !other.registered.is_empty() || other.perhaps_registered;
            self.fates.extend(other.fates.into_iter().map(|(node, fate)| match fate {
                Fate::Never => (node, Fate::Never),
                Fate::Once => (node, Fate::Once),
                Fate::Done | Fate::Undone | Fate::Open => (node, Fate::Open),
            }));
        }
        true
    }

    fn begin(&mut self, work: &Work) {
        if work.undo.is_some() {
            self.registered.push(work.node);
        }
    }

    fn end(&mut self, work: &Work) {
        if work.fatal {
            self.fates.insert(work.node, Fate::Never);
        } else {
            self.fates.insert(work.node, Fate::Done);
            self.sum = self.sum.wrapping_add(work.value);
        }
    }
}

struct Maker<'a> {
    dice: &'a mut Dice,
    node: u32,
    signal: u32,
    /// There is something that fails the run already.
    fatal: bool,
    /// For real processes.
    real: bool,
}

impl Maker<'_> {
    fn op(&mut self, depth: u32) -> Op {
        if self.real && self.dice.chance(350) {
            return self.real_op();
        }
        match self.dice.below(20) {
            0..=5 => Op::Run(self.work()),
            6 => self.fatal_once(),
            7 => Op::Try(Work { fatal: true, ..self.work() }),
            8 => Op::Sleep(self.duration()),
            9 | 10 => {
                self.signal += 1;
                Op::Receive(self.signal)
            }
            11 | 12 if depth > 0 => {
                let count = self.dice.between(2, 3);
                Op::All((0..count).map(|_| self.branch(depth - 1)).collect())
            }
            11..=13 => {
                let count = self.dice.between(2, 5);
                let works = (0..count).map(|_| self.work()).collect();
                Op::Each(works, self.dice.index(3) + 1)
            }
            14 => Op::Beats(self.work()),
            15 => {
                let work = Work { endless: true, undo: None, ..self.work() };
                Op::Outlasts(self.duration(), work)
            }
            16 => {
                let (left, right) = (self.work(), self.work());
                let value = left.value;
                Op::Either(left, Work { value, ..right })
            }
            17 if depth == 2 => Op::Compensate,
            18 if depth == 2 => Op::Pivot,
            _ => Op::Run(self.work()),
        }
    }

    /// What only real processes do.
    fn real_op(&mut self) -> Op {
        match self.dice.below(6) {
            0 => {
                self.signal += 1;
                Op::Until(self.signal)
            }
            1 => Op::Missing(self.duration()),
            2 => Op::Once(Work { transient: 0, undo: None, ..self.work() }),
            3 => {
                let overruns = if self.dice.chance(500) { 1 } else { 2 };
                Op::Run(Work { overruns, lasts_ms: 1, ..self.work() })
            }
            4 => {
                let silences = u32::from(self.dice.chance(500));
                Op::Run(Work { silences: Some(silences), ..self.work() })
            }
            _ => Op::Run(Work { silences: Some(0), ..self.work() }),
        }
    }

    fn branch(&mut self, depth: u32) -> Vec<Op> {
        let count = self.dice.between(1, 2);
        (0..count).map(|_| self.op(depth)).collect()
    }

    /// Work that fails the run, once in a program: which of two failed first would not be known.
    fn fatal_once(&mut self) -> Op {
        if std::mem::replace(&mut self.fatal, true) {
            return Op::Run(self.work());
        }
        Op::Run(Work { fatal: true, ..self.work() })
    }

    fn plain(&mut self) -> Work {
        self.node += 1;
        Work {
            node: self.node,
            value: self.dice.below(1 << 20),
            transient: 0,
            fatal: false,
            endless: false,
            lasts_ms: self.duration(),
            announced: false,
            undo: None,
            queue: None,
            overruns: 0,
            silences: None,
        }
    }

    fn work(&mut self) -> Work {
        let transient = if self.dice.chance(300) { self.dice.between(1, 3) } else { 0 };
        let undo = self.dice.chance(400).then(|| Undo {
            fatal: if self.dice.chance(200) { 1 } else { 0 },
            transient: if self.dice.chance(200) { 1 } else { 0 },
            skip: self.dice.chance(500),
        });
        let announced = self.dice.chance(150);
        let other = self.real && self.dice.chance(400);
        let queue = other.then(|| self.dice.pick(&OTHER_QUEUES).map(|queue| (*queue).to_owned())).flatten();
        Work { transient: u32::try_from(transient).unwrap_or(0), undo, announced, queue, ..self.plain() }
    }

    /// Mostly short, sometimes longer than a task may go without a sign of life, seldom minutes.
    fn duration(&mut self) -> u64 {
        if self.real {
            return match self.dice.below(20) {
                0..=13 => self.dice.between(1, 300),
                14..=18 => self.dice.between(300, 2_000),
                _ => self.dice.between(2_000, 6_000),
            };
        }
        match self.dice.below(20) {
            0..=12 => self.dice.between(1, 300),
            13..=17 => self.dice.between(300, 8_000),
            18 => self.dice.between(8_000, 40_000),
            _ => self.dice.between(60_000, 400_000),
        }
    }
}
