//! The activities of the tests. Most write into the ledger, so that executions can be counted; some wait at
//! a gate, so that a test can act while they run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepwell::prelude::*;

use crate::gates::Gates;
use crate::ledger::{Bank, Booking, Entry, Ledger, Phase};

/// The gate of the activity `occupy`: open when all places that may be taken are.
pub const OCCUPIED: &str = "occupied";

/// Doubles a number. Leaves no trace.
#[activity(start_to_close = "30s", retry(initial = "20ms"))]
pub async fn double(_ctx: ActivityContext, number: i64) -> Result<i64, ActivityError> {
    Ok(number * 2)
}

/// Takes two arguments.
#[activity(start_to_close = "30s")]
pub async fn concatenate(
    _ctx: ActivityContext,
    left: String,
    right: String,
) -> Result<String, ActivityError> {
    Ok(left + &right)
}

/// Takes no arguments and returns nothing.
#[activity(start_to_close = "30s")]
pub async fn nothing(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

/// Declares no timeout at all.
#[activity]
pub async fn boundless(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

/// Always panics.
#[activity(start_to_close = "30s", retry(initial = "20ms", max_attempts = 2))]
pub async fn explode(_ctx: ActivityContext, text: String) -> Result<(), ActivityError> {
    panic!("{text}")
}

/// Returns so many bytes of text.
#[activity(start_to_close = "30s", retry(max_attempts = 1))]
pub async fn text_of(_ctx: ActivityContext, bytes: usize) -> Result<String, ActivityError> {
    Ok("x".repeat(bytes))
}

/// An activity that fails a few times first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Flaky {
    /// Attempts that fail.
    pub failures: u32,
    /// The error's type.
    pub error_type: String,
    /// Whether it says that trying again is useless.
    #[serde(default)]
    pub non_retryable: bool,
    /// The wait that it asks for.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

/// What a step of a saga does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Leg {
    /// Its name, in the ledger.
    pub name: String,
    /// The action fails for good.
    pub fails: bool,
    /// The action waits here.
    pub gate: Option<String>,
    /// So many attempts of the compensation fail.
    pub undo_failures: u32,
    /// The compensation waits here.
    pub undo_gate: Option<String>,
    /// The compensation fails for good until this is open.
    pub undo_stuck_until: Option<String>,
}

/// A booking in the bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposit {
    /// Whose account.
    pub account: String,
    /// How much.
    pub amount: i64,
    /// The booking waits here.
    pub gate: Option<String>,
}

/// What the activities of one worker process share.
#[derive(Debug)]
pub struct Desk {
    ledger: Ledger,
    bank: Bank,
    gates: Gates,
    served: AtomicU64,
}

#[activities]
impl Desk {
    /// Notes a text and returns it.
    #[activity(start_to_close = "30s", retry(initial = "20ms"))]
    pub async fn note(&self, ctx: ActivityContext, text: String) -> Result<String, ActivityError> {
        self.write(&ctx, Phase::Started, &text)?;
        self.write(&ctx, Phase::Finished, &text)?;
        Ok(text)
    }

    /// How many calls this worker process has served.
    #[activity(start_to_close = "30s")]
    pub async fn serve(&self, _ctx: ActivityContext) -> Result<(u32, u64), ActivityError> {
        Ok((std::process::id(), self.served.fetch_add(1, Ordering::SeqCst) + 1))
    }

    /// Fails a few times, then returns the attempt and the idempotency key.
    #[activity(start_to_close = "30s", retry(initial = "20ms", coefficient = 1.0, jitter = 0.0))]
    pub async fn flaky(&self, ctx: ActivityContext, plan: Flaky) -> Result<(u32, String), ActivityError> {
        self.write(&ctx, Phase::Started, &plan.error_type)?;
        let attempt = ctx.info().attempt;
        if attempt > plan.failures {
            self.write(&ctx, Phase::Finished, &plan.error_type)?;
            return Ok((attempt, ctx.idempotency_key().to_owned()));
        }
        self.write(&ctx, Phase::Failed, &plan.error_type)?;
        let mut error = ActivityError::new(plan.error_type, format!("attempt {attempt}")).details(attempt);
        if plan.non_retryable {
            error = error.non_retryable();
        }
        if let Some(ms) = plan.retry_after_ms {
            error = error.retry_after(Duration::from_millis(ms));
        }
        Err(error)
    }

    /// Waits at a gate, and stops when it is told to.
    #[activity(start_to_close = "60s", retry(initial = "20ms"))]
    pub async fn wait_at(&self, ctx: ActivityContext, gate: String) -> Result<String, ActivityError> {
        self.write(&ctx, Phase::Started, &gate)?;
        tokio::select! {
            () = self.gates.pass(&gate) => {
                self.write(&ctx, Phase::Finished, &gate)?;
                Ok(gate)
            }
            () = ctx.cancelled() => {
                self.write(&ctx, Phase::Cancelled, &gate)?;
                Err(ActivityError::cancelled())
            }
        }
    }

    /// Waits at a gate, whatever it is told.
    #[activity(start_to_close = "60s", retry(initial = "20ms"))]
    pub async fn insist(&self, ctx: ActivityContext, gate: String) -> Result<String, ActivityError> {
        self.write(&ctx, Phase::Started, &gate)?;
        self.gates.pass(&gate).await;
        self.write(&ctx, Phase::Finished, &gate)?;
        Ok(gate)
    }

    /// The first attempt says how far it is and then no more; the next one returns what it was handed.
    #[activity(start_to_close = "60s", heartbeat = "2s", retry(initial = "20ms"))]
    pub async fn lose_heart(
        &self,
        ctx: ActivityContext,
        steps: u32,
    ) -> Result<(u32, Option<u32>), ActivityError> {
        self.write(&ctx, Phase::Started, "")?;
        let handed_over = ctx.last_heartbeat::<u32>();
        if ctx.info().attempt == 1 {
            for step in 1..=steps {
                ctx.heartbeat(step);
            }
            ctx.cancelled().await;
        }
        self.write(&ctx, Phase::Finished, "")?;
        Ok((ctx.info().attempt, handed_over))
    }

    /// Says that it is alive for longer than its heartbeat timeout.
    #[activity(start_to_close = "60s", heartbeat = "2s", retry(max_attempts = 1))]
    pub async fn stay_alive(&self, ctx: ActivityContext, gate: String) -> Result<String, ActivityError> {
        self.write(&ctx, Phase::Started, &gate)?;
        while !self.gates.is_open(&gate) {
            ctx.heartbeat(&gate);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.write(&ctx, Phase::Finished, &gate)?;
        Ok(gate)
    }

    /// Waits at gate [`OCCUPIED`], and takes a moment after it, so that several run at once.
    #[activity(start_to_close = "30s")]
    pub async fn occupy(&self, ctx: ActivityContext, number: u32) -> Result<u32, ActivityError> {
        self.write(&ctx, Phase::Started, "")?;
        self.gates.pass(OCCUPIED).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.write(&ctx, Phase::Finished, "")?;
        Ok(number)
    }

    /// The action of a saga's step. Returns a ticket.
    #[activity(start_to_close = "30s", retry(initial = "20ms"))]
    pub async fn travel(&self, ctx: ActivityContext, leg: Leg) -> Result<String, ActivityError> {
        self.write(&ctx, Phase::Started, &leg.name)?;
        if let Some(gate) = &leg.gate {
            tokio::select! {
                () = self.gates.pass(gate) => {}
                () = ctx.cancelled() => {
                    self.write(&ctx, Phase::Cancelled, &leg.name)?;
                    return Err(ActivityError::cancelled());
                }
            }
        }
        if leg.fails {
            self.write(&ctx, Phase::Failed, &leg.name)?;
            return Err(ActivityError::new("NoSeats", leg.name).non_retryable());
        }
        self.write(&ctx, Phase::Finished, &leg.name)?;
        Ok(format!("ticket of {}", leg.name))
    }

    /// The compensation of [`travel`].
    #[activity(start_to_close = "30s", retry(initial = "20ms", coefficient = 1.0, max_attempts = 4))]
    pub async fn return_ticket(
        &self,
        ctx: ActivityContext,
        undo: Undo<Leg, String>,
    ) -> Result<(), ActivityError> {
        let leg = &undo.input;
        let text = format!("{} {} {}", leg.name, undo.output.as_deref().unwrap_or("-"), undo.idempotency_key);
        self.write(&ctx, Phase::Started, &text)?;
        if let Some(gate) = &leg.undo_gate {
            self.gates.pass(gate).await;
        }
        let stuck = leg.undo_stuck_until.as_ref().is_some_and(|gate| !self.gates.is_open(gate));
        if stuck || ctx.info().attempt <= leg.undo_failures {
            self.write(&ctx, Phase::Failed, &text)?;
            let error =
                ActivityError::new("CounterClosed", format!("cannot return the ticket of {}", leg.name));
            return Err(if stuck { error.non_retryable() } else { error });
        }
        self.write(&ctx, Phase::Finished, &text)
    }

    /// Books an amount, once for each idempotency key.
    #[activity(start_to_close = "30s", retry(initial = "20ms", coefficient = 1.0))]
    pub async fn deposit(&self, ctx: ActivityContext, deposit: Deposit) -> Result<i64, ActivityError> {
        self.write(&ctx, Phase::Started, &deposit.account)?;
        let Deposit { account, amount, gate } = deposit;
        if let Some(gate) = gate {
            self.gates.pass(&gate).await;
        }
        self.bank.book(&Booking {
            key: ctx.idempotency_key().to_owned(),
            account: account.clone(),
            amount,
        })?;
        self.write(&ctx, Phase::Finished, &account)?;
        Ok(amount)
    }

    /// Undoes a deposit, if it was made.
    #[activity(start_to_close = "30s", retry(initial = "20ms", coefficient = 1.0))]
    pub async fn withdraw(
        &self,
        ctx: ActivityContext,
        undo: Undo<Deposit, i64>,
    ) -> Result<(), ActivityError> {
        self.write(&ctx, Phase::Started, &undo.input.account)?;
        let account = undo.input.account;
        let amount = -self.bank.booked(&undo.idempotency_key);
        self.bank.book(&Booking {
            key: ctx.idempotency_key().to_owned(),
            account: account.clone(),
            amount,
        })?;
        self.write(&ctx, Phase::Finished, &account)
    }
}

impl Desk {
    /// The desk of a worker process that works for the test with this folder.
    ///
    /// # Errors
    /// When the ledger cannot be opened.
    pub fn open(folder: &std::path::Path) -> std::io::Result<Self> {
        Ok(Self {
            ledger: Ledger::open(folder)?,
            bank: Bank::open(folder)?,
            gates: Gates::of(folder),
            served: AtomicU64::new(0),
        })
    }

    fn write(&self, ctx: &ActivityContext, phase: Phase, text: &str) -> Result<(), ActivityError> {
        Ok(self.ledger.write(&Entry::of(ctx, phase, text.to_owned()))?)
    }
}
