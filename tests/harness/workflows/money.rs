//! Workflows whose right answer is known in advance, for the tests that kill processes: what they do to the
//! bank outside can be added up.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepwell::FailureKind;
use stepwell::prelude::*;

use crate::activities::{Deposit, deposit, withdraw};

/// Pause between two bookings: long enough that somebody can be killed in between.
const NAP: Duration = Duration::from_millis(100);

/// Bookings into one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The account.
    pub account: String,
    /// The amounts are 1 up to this.
    pub steps: i64,
    /// The last booking waits here.
    pub gate: Option<String>,
}

impl Plan {
    /// What all bookings add up to.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.steps * (self.steps + 1) / 2
    }

    fn deposits(&self) -> impl Iterator<Item = Deposit> + use<> {
        let Self { account, steps, gate } = self.clone();
        (1..=steps).map(move |amount| {
            let gate = gate.clone().filter(|_| amount == steps);
            Deposit { account: account.clone(), amount, gate }
        })
    }
}

/// One booking after the other, with short naps; returns their sum.
#[workflow]
pub async fn saves(ctx: WorkflowContext, plan: Plan) -> Result<i64, WorkflowError> {
    let mut total = 0;
    for deposit_of in plan.deposits() {
        total += ctx.run(deposit, deposit_of).await?;
        ctx.sleep(NAP).await?;
    }
    Ok(total)
}

/// The same at once; returns the sum.
#[workflow]
pub async fn shares(ctx: WorkflowContext, plan: Plan) -> Result<i64, WorkflowError> {
    let deposits = plan.deposits().map(|deposit_of| ctx.run(deposit, deposit_of));
    Ok(try_join_all(deposits).await?.into_iter().sum())
}

/// One booking after the other, none of them tried twice; returns the sum of those that are known to have
/// been made.
#[workflow]
pub async fn dares(ctx: WorkflowContext, plan: Plan) -> Result<i64, WorkflowError> {
    let mut total = 0;
    for deposit_of in plan.deposits() {
        match ctx.run(deposit, deposit_of).max_attempts(1).await {
            Ok(amount) => total += amount,
            // The worker is gone, and nobody knows whether it had done it.
            Err(failure) if failure.kind() == FailureKind::Lost => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(total)
}

/// Books, and then wants all of it undone.
#[workflow]
pub async fn regrets(ctx: WorkflowContext, plan: Plan) -> Result<i64, WorkflowError> {
    for deposit_of in plan.deposits() {
        ctx.run(deposit, deposit_of).compensate(withdraw).await?;
        ctx.sleep(NAP).await?;
    }
    Err(WorkflowError::new("Regret", plan.account))
}
