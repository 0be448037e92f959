//! What is run: workflows by number, each a function of the seed, with everything that must come of it.

use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject;

use stepwell_simulation::dice::Dice;
use stepwell_simulation::program::{Answer, End, Op, Program};

/// How often a metronome ticks, in milliseconds: how fine the time without progress is measured.
const TICK_MS: u64 = 700;

/// Ticks of one metronome; then another one follows, so that histories stay short.
const TICKS: usize = 40;

/// One workflow.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) program: Program,
    pub(crate) answer: Answer,
    pub(crate) whim: Whim,
    /// For what the client does; a stream of its own.
    pub(crate) dice: Dice,
}

/// What somebody does to a workflow though its program does not wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whim {
    /// Nothing.
    Nothing,
    /// It is cancelled at some moment, after so many milliseconds.
    Cancel(u64),
    /// It is ended at some moment.
    Terminate(u64),
}

impl Plan {
    /// Workflow number `number` of this seed.
    pub(crate) fn nth(seed: u64, number: u64) -> Self {
        let mut dice = Dice::of(seed, &format!("workflow {number}"));
        let program = Program::random_real(&mut dice);
        let whim = match dice.below(20) {
            0 => Whim::Cancel(dice.between(1, 4_000)),
            1 => Whim::Terminate(dice.between(1, 4_000)),
            _ => Whim::Nothing,
        };
        let answer = program.answer(false);
        // An id that has to be escaped.
        Self { id: format!("order {number}.a"), program, answer, whim, dice }
    }

    /// A workflow that does nothing but tick, in this partition.
    pub(crate) fn metronome(partition: u32, partitions: u32, generation: u64) -> Self {
        let ids = (0u64..).map(|suffix| format!("tick-{partition}-{generation}-{suffix}"));
        let there = |id: &String| {
            WorkflowId::new(id.clone()).is_ok_and(|id| subject::partition(&id, partitions) == partition)
        };
        let program = Program { ops: vec![Op::Sleep(TICK_MS); TICKS], end: End::Return };
        let answer = program.answer(false);
        // Every partition has ids of this kind; the first is found after a few tries.
        let id = ids.take(100_000).find(there).unwrap_or_default();
        Self { id, program, answer, whim: Whim::Nothing, dice: Dice::of(generation, "tick") }
    }

    /// Whether what comes out is known in advance.
    pub(crate) fn certain(&self) -> bool {
        self.whim == Whim::Nothing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_plan_is_a_function_of_seed_and_number() {
        for number in 0..20 {
            let (one, other) = (Plan::nth(7, number), Plan::nth(7, number));
            assert_eq!((one.program, one.answer, one.whim), (other.program, other.answer, other.whim));
        }
        assert_ne!(Plan::nth(7, 1).program, Plan::nth(8, 1).program);
    }

    #[test]
    fn every_kind_of_step_is_among_the_programs() {
        fn names(ops: &[Op], into: &mut BTreeSet<String>) {
            for op in ops {
                let name = format!("{op:?}");
                into.insert(name.chars().take_while(|it| it.is_alphabetic()).collect());
                if let Op::All(branches) = op {
                    branches.iter().for_each(|ops| names(ops, into));
                }
            }
        }
        let mut seen = BTreeSet::new();
        (0..400).for_each(|number| names(&Plan::nth(1, number).program.ops, &mut seen));
        let all = [
            "All",
            "Beats",
            "Compensate",
            "Each",
            "Either",
            "Missing",
            "Once",
            "Outlasts",
            "Pivot",
            "Receive",
            "Run",
            "Sleep",
            "Try",
            "Until",
        ];
        assert_eq!(seen, all.map(str::to_owned).into());
    }

    #[test]
    fn a_metronome_is_in_its_partition() {
        for partition in 0..16 {
            let id = WorkflowId::new(Plan::metronome(partition, 16, 3).id).unwrap();
            assert_eq!(subject::partition(&id, 16), partition);
        }
    }
}
