//! Races between branches. The winner is recorded, so that it is a matter of history and not of the
//! order in which a later version of the code happens to look.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, FusedFuture};
use stepwell_shared::command::Command;

use crate::run::Shared;
use crate::stalled::Stalled;

/// Who records the winner.
struct Referee {
    run: Arc<Shared>,
    at: &'static Location<'static>,
}

impl Referee {
    /// `None` when this turn will not count.
    fn record(&self, winner: usize) -> Option<()> {
        let winner = u32::try_from(winner).ok()?;
        let mut state = self.run.act("decide a race")?;
        state.ask_new(Some(self.at), |seq| Command::RaceWon { seq, winner }).map(|_| ())
    }
}

type Branches<A, B> = (Pin<Box<A>>, Pin<Box<B>>);

/// The future of [`WorkflowContext::race`](crate::WorkflowContext::race).
#[must_use = "nobody runs until the race is awaited"]
pub struct Race<A, B> {
    referee: Referee,
    branches: Option<Branches<A, B>>,
}

impl<A: Future, B: Future> Race<A, B> {
    pub(crate) fn new(run: Arc<Shared>, left: A, right: B, at: &'static Location<'static>) -> Self {
        Self { referee: Referee { run, at }, branches: Some((Box::pin(left), Box::pin(right))) }
    }
}

impl<A: Future, B: Future> Future for Race<A, B> {
    type Output = Either<A::Output, B::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((left, right)) = &mut self.branches else { return Poll::Pending };
        let (winner, output) = if let Poll::Ready(output) = left.as_mut().poll(cx) {
            (0, Either::Left(output))
        } else if let Poll::Ready(output) = right.as_mut().poll(cx) {
            (1, Either::Right(output))
        } else {
            return Poll::Pending;
        };
        let recorded = self.referee.record(winner);
        // The loser goes after the winner is recorded; what it had asked for is cancelled.
        self.branches = None;
        recorded.map_or(Poll::Pending, |()| Poll::Ready(output))
    }
}

impl<A: Future, B: Future> FusedFuture for Race<A, B> {
    fn is_terminated(&self) -> bool {
        self.branches.is_none()
    }
}

/// The future of [`WorkflowContext::race_all`](crate::WorkflowContext::race_all).
#[must_use = "nobody runs until the race is awaited"]
pub struct RaceAll<F> {
    referee: Referee,
    branches: Vec<Pin<Box<F>>>,
    done: bool,
}

impl<F: Future> RaceAll<F> {
    pub(crate) fn new(
        run: Arc<Shared>,
        branches: impl IntoIterator<Item = F>,
        at: &'static Location<'static>,
    ) -> Self {
        let branches = branches.into_iter().map(Box::pin).collect();
        Self { referee: Referee { run, at }, branches, done: false }
    }
}

impl<F: Future> Future for RaceAll<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.done {
            return Poll::Pending;
        }
        if self.branches.is_empty() {
            if let Some(mut state) = self.referee.run.act("race") {
                let at = self.referee.at;
                state.fault.get_or_insert_with(|| nobody_races(at));
            }
            return Poll::Pending;
        }
        let ready =
            self.branches.iter_mut().enumerate().find_map(|(index, branch)| match branch.as_mut().poll(cx) {
                Poll::Ready(output) => Some((index, output)),
                Poll::Pending => None,
            });
        let Some((winner, output)) = ready else { return Poll::Pending };
        let recorded = self.referee.record(winner);
        self.done = true;
        self.branches.clear();
        recorded.map_or(Poll::Pending, |()| Poll::Ready((winner, output)))
    }
}

impl<F: Future> FusedFuture for RaceAll<F> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

fn nobody_races(at: &'static Location<'static>) -> Stalled {
    Stalled::invalid(format!(
        "ctx.race_all at {at} was given no branch, so nobody can ever win; check that there is one before \
         racing"
    ))
}
