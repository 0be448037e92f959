//! What the attribute macros make of functions.

use std::time::Duration;

use stepwell::prelude::*;
use stepwell::testing::TestActivity;
use stepwell::{Activity, ActivityOptions, ActivitySet, RetryPolicy, WorkflowDefinition};

mod every_name_taken {
    //! The macros name everything by its full path, so that a user's own names do not get in their way.
    #![allow(dead_code, non_camel_case_types)]

    pub(crate) struct Option;
    pub(crate) struct Some;
    pub(crate) struct None;
    pub(crate) struct Ok;
    pub(crate) struct Err;
    pub(crate) struct String;
    pub(crate) struct Vec;
    pub(crate) struct Box;
    pub(crate) struct Arc;
    pub(crate) trait Default {}
    pub(crate) trait Into {}
    pub(crate) trait From {}
    pub(crate) trait Clone {}
    pub(crate) trait Debug {}
    pub(crate) trait Future {}
    pub(crate) struct ActivityOptions;
    pub(crate) struct ActivityDefaults;
    pub(crate) struct RetryPolicy;
    pub(crate) trait Activity {}
    pub(crate) trait WorkflowDefinition {}
    pub(crate) mod core {}
    pub(crate) mod std {}
    pub(crate) mod stepwell {}

    use ::stepwell::{ActivityContext, ActivityError, WorkflowContext, WorkflowError};

    type Result<T, E> = ::std::result::Result<T, E>;

    #[::stepwell::activity(start_to_close = "1s", queue = "q", retry(max_attempts = 1, non_retryable = ["A"]))]
    pub(crate) async fn act(_ctx: ActivityContext, n: u32, m: u32) -> Result<u32, ActivityError> {
        Result::Ok(n + m)
    }

    pub(crate) struct Set;

    #[::stepwell::activities]
    impl Set {
        #[activity]
        pub(crate) async fn method(&self, _ctx: ActivityContext, n: u32) -> Result<u32, ActivityError> {
            Result::Ok(n)
        }
    }

    #[::stepwell::workflow]
    pub(crate) async fn flow(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
        Result::Ok(ctx.run(act, (1, 2)).await?)
    }
}

/// Takes nothing.
#[activity]
async fn none(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

/// Takes one value, by a pattern, and changes it.
#[activity(name = "one-value", queue = "gpu")]
async fn one(_ctx: ActivityContext, (mut left, right): (u32, u32)) -> Result<u32, ActivityError> {
    left += right;
    Ok(left)
}

#[activity(
    start_to_close = "1m30s",
    schedule_to_start = "2h",
    schedule_to_close = "1d",
    heartbeat = "250ms",
    retry(
        max_attempts = 5,
        initial = "2s",
        coefficient = 3,
        max_interval = "1h",
        jitter = 0.5,
        non_retryable = ["A", "B"],
    ),
)]
async fn many(_ctx: ActivityContext, a: u8, b: String, c: Option<bool>) -> Result<String, ActivityError> {
    Ok(format!("{a} {b} {c:?}"))
}

/// Errors of other types are converted.
#[activity]
async fn parse(_ctx: ActivityContext, text: String) -> Result<i64, std::num::ParseIntError> {
    text.parse()
}

#[activity]
async fn r#type(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[derive(Clone)]
struct Account {
    balance: u32,
}

#[activities]
impl Account {
    fn new(balance: u32) -> Self {
        Self { balance }
    }

    /// Types may be named by `Self`.
    #[activity(start_to_close = "1s")]
    async fn deposit(&self, _ctx: ActivityContext, amount: <Self as Currency>::Amount) -> Done<u32> {
        Ok(self.balance + amount)
    }

    #[activity]
    #[cfg(any())]
    async fn removed(&self, _ctx: ActivityContext, amount: NoSuchType) -> Done<u32> {
        Ok(amount)
    }

    #[stepwell::activity]
    async fn close(&self, _ctx: ActivityContext, _a: u32, _b: u32) -> Done<()> {
        Ok(())
    }
}

type Done<T> = Result<T, ActivityError>;

trait Currency {
    type Amount;
}

impl Currency for Account {
    type Amount = u32;
}

/// The name of an activity may be the name of a variable as well.
#[workflow(queue = "accounts")]
async fn shadows(ctx: WorkflowContext, one: u32, many: u32) -> Result<u32, WorkflowError> {
    let deposit = ctx.run(deposit, one + many).await?;
    let none = ctx.run(none, ()).await;
    none?;
    Ok(deposit)
}

#[workflow(name = "no-input")]
async fn no_input(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

fn name_of<A: Activity>(_activity: A) -> &'static str {
    A::NAME
}

fn queue_of<W: WorkflowDefinition>(_workflow: W) -> (&'static str, &'static str) {
    (W::NAME, W::QUEUE)
}

#[test]
fn names_and_queues_are_those_of_the_function_or_of_the_attribute() {
    assert_eq!(name_of(none), "none");
    assert_eq!(name_of(one), "one-value");
    assert_eq!(name_of(r#type), "type");
    assert_eq!(name_of(deposit), "deposit");
    assert_eq!(one::options().queue, Some("gpu"));
    assert_eq!(none::options().queue, None);
    assert_eq!(queue_of(shadows), ("shadows", "accounts"));
    assert_eq!(queue_of(no_input), ("no-input", "default"));
    assert_eq!(name_of(every_name_taken::act), "act");
    assert_eq!(queue_of(every_name_taken::flow), ("flow", "default"));
}

#[test]
fn options_are_what_was_written() {
    let expected = ActivityOptions {
        start_to_close_ms: Some(90_000),
        schedule_to_start_ms: Some(7_200_000),
        schedule_to_close_ms: Some(86_400_000),
        heartbeat_timeout_ms: Some(250),
        retry: RetryPolicy {
            initial_interval_ms: 2_000,
            backoff_coefficient: 3.0,
            maximum_interval_ms: Some(3_600_000),
            maximum_attempts: Some(5),
            non_retryable: vec!["A".into(), "B".into()],
            jitter: 0.5,
        },
    };
    assert_eq!(many::options().options, expected);
    assert_eq!(none::options().options, ActivityOptions::default());
}

#[tokio::test]
async fn the_function_itself_can_be_called() {
    let test = TestActivity::new();
    none::call(test.context()).await.unwrap();
    assert_eq!(one::call(test.context(), (1, 2)).await.unwrap(), 3);
    assert_eq!(many::call(test.context(), 1, "b".into(), None).await.unwrap(), "1 b None");
    assert!(parse::call(test.context(), "x".into()).await.is_err());
    let account = Account::new(5);
    assert_eq!(account.deposit(test.context(), 2).await.unwrap(), 7);
    assert_eq!(every_name_taken::act::call(test.context(), 1, 2).await.unwrap(), 3);
}

#[test]
fn a_set_has_all_its_methods_in_order() {
    let names = |set: std::sync::Arc<Account>| {
        set.activities().iter().map(|code| code.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(Account::new(1).into()), ["deposit", "close"]);
    assert_eq!(std::sync::Arc::new(every_name_taken::Set).activities().len(), 1);
}

#[tokio::test]
async fn a_test_can_cancel_and_go_on_from_a_heartbeat() {
    #[activity]
    async fn waits(ctx: ActivityContext) -> Result<u32, ActivityError> {
        if let Some(last) = ctx.last_heartbeat() {
            return Ok(last);
        }
        ctx.cancelled().await;
        Err(ActivityError::cancelled())
    }
    let test = TestActivity::new();
    test.cancel();
    assert!(waits::call(test.context()).await.unwrap_err().is_cancelled());
    let test = TestActivity::new().after(1, 7);
    assert_eq!(test.context().info().attempt, 2);
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(9), waits::call(test.context())).await.unwrap().unwrap(),
        7
    );
}
