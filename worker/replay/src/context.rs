//! What workflow code can do. Everything here gives the same answers in the same order on every replay;
//! nothing here does I/O.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::command::Command;
use stepwell_shared::ids::Name;
use stepwell_shared::payload::Payload;

use crate::activity::{Activity, ActivityDefaults};
use crate::call::ActivityCall;
use crate::concurrent;
use crate::encode::{check_size, encode_bounded};
use crate::error::MalformedSignal;
use crate::info::RunInfo;
use crate::query::{Answer, Query, lock};
use crate::race::{Race, RaceAll};
use crate::random::{self, Random};
use crate::run::{Handler, Shared};
use crate::signal::Signal;
use crate::wait::{CancelledFuture, Compensating, Receive, Signals, Sleep, Timer, WaitUntil};

/// The hand by which workflow code reaches everything outside of it. Cheap to clone.
///
/// ```
/// use stepwell_worker_replay::*;
/// # struct Fetch;
/// # impl Activity for Fetch {
/// #     type Input = String; type Output = String;
/// #     const NAME: &'static str = "fetch";
/// #     fn options() -> ActivityDefaults { ActivityDefaults::start_to_close(secs(5)) }
/// # }
/// const APPROVE: Signal<bool> = Signal::new("approve");
/// const STATUS: Query<(), String> = Query::new("status");
///
/// async fn code(ctx: WorkflowContext, url: String) -> Result<Option<String>, WorkflowError> {
///     let status = ctx.answer(STATUS, "fetching".to_owned());
///     let text = ctx.run(Fetch, url).await?;
///     status.set("waiting for approval".to_owned());
///     match ctx.receive(APPROVE).timeout(days(7)).await {
///         Ok(true) => Ok(Some(text)),
///         Ok(false) | Err(WaitError::TimedOut) => Ok(None),
///         Err(error) => Err(error.into()),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct WorkflowContext {
    run: Arc<Shared>,
    shielded: bool,
}

impl WorkflowContext {
    pub(crate) fn new(run: Arc<Shared>) -> Self {
        Self { run, shielded: false }
    }

    /// Runs an activity. The result is its output, or why there is none after all attempts.
    ///
    /// A call that cannot be made (no timeout anywhere, an input that is too large, a queue that is no
    /// name) asks for nothing and fails with the activity's name and the line.
    ///
    /// ```
    /// use stepwell_worker_replay::*;
    /// # struct Double;
    /// # impl Activity for Double { type Input = u64; type Output = u64; const NAME: &'static str = "double"; }
    /// async fn code(ctx: WorkflowContext, n: u64) -> Result<u64, WorkflowError> {
    ///     // One after the other, with `?`:
    ///     let twice = ctx.run(Double, n).start_to_close(secs(10)).await?;
    ///     // Two at once; `start` asks for the first one right away:
    ///     let background = ctx.run(Double, 7).start_to_close(secs(10)).start();
    ///     let more = ctx.run(Double, twice).start_to_close(secs(10)).await?;
    ///     // An error of the activity's own, by the name that it gave:
    ///     match background.await {
    ///         Ok(fourteen) => Ok(more + fourteen),
    ///         Err(failure) if failure.error_type() == "TooLarge" => Ok(more),
    ///         Err(failure) => Err(failure.into()),
    ///     }
    /// }
    /// ```
    #[track_caller]
    pub fn run<A: Activity>(&self, _activity: A, input: A::Input) -> ActivityCall<A::Input, A::Output> {
        let at = self.note("run");
        let input = encode_bounded(&input);
        ActivityCall::new(self.run.clone(), self.shielded, A::NAME, A::options(), input, at)
    }

    /// Runs an activity that is known by name only, such as one in another language. It has no options
    /// but those given at the call.
    #[track_caller]
    pub fn run_untyped(&self, activity: &str, input: Payload) -> ActivityCall<Payload, Payload> {
        let at = self.note("run_untyped");
        let defaults = ActivityDefaults::default();
        ActivityCall::new(self.run.clone(), self.shielded, activity, defaults, check_size(input), at)
    }

    /// Sleeps. Never less than `duration`; a hundred years at most.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let at = self.note("sleep");
        Sleep::new(Timer::new(self.run.clone(), self.shielded, duration, at))
    }

    /// Waits for the oldest signal that has not been received. Signals are kept in order of arrival from
    /// the run's first moment on, so none is missed by asking late.
    ///
    /// ```
    /// use stepwell_worker_replay::*;
    /// const APPROVE: Signal<bool> = Signal::new("approve");
    ///
    /// async fn code(ctx: WorkflowContext, _: ()) -> Result<bool, WorkflowError> {
    ///     loop {
    ///         match ctx.receive(APPROVE).timeout(days(7)).await {
    ///             Ok(approved) => return Ok(approved),
    ///             Err(WaitError::TimedOut) => return Ok(false),
    ///             // Somebody sent something else under this name; the next one may be right.
    ///             Err(WaitError::Malformed(_)) => {}
    ///             Err(WaitError::Cancelled) => return Err(WorkflowError::Cancelled),
    ///         }
    ///     }
    /// }
    /// ```
    #[track_caller]
    pub fn receive<T: DeserializeOwned>(&self, signal: Signal<T>) -> Receive<T> {
        let at = self.note("receive");
        Receive::new(self.run.clone(), self.shielded, signal, at)
    }

    /// The oldest signal that has not been received, if one is there.
    ///
    /// # Errors
    /// [`MalformedSignal`] when it carries something that is not a `T`; it is taken all the same.
    #[track_caller]
    pub fn try_receive<T: DeserializeOwned>(&self, signal: Signal<T>) -> Result<Option<T>, MalformedSignal> {
        self.note("try_receive");
        crate::wait::take_signal(&self.run, signal.name()).transpose()
    }

    /// All signals of one name, as a stream that ends when the run is asked to stop.
    #[track_caller]
    pub fn signals<T: DeserializeOwned>(&self, signal: Signal<T>) -> Signals<T> {
        let at = self.note("signals");
        Signals::new(self.run.clone(), self.shielded, signal, at)
    }

    /// Waits until a condition over the code's own variables holds. It is looked at whenever anything
    /// has happened, and must not change anything.
    ///
    /// ```
    /// use stepwell_worker_replay::*;
    /// const ITEM: Signal<u32> = Signal::new("item");
    /// const TOTAL: Query<(), u32> = Query::new("total");
    ///
    /// async fn code(ctx: WorkflowContext, _: ()) -> Result<u32, WorkflowError> {
    ///     let total = ctx.answer(TOTAL, 0);
    ///     let collecting = async {
    ///         loop {
    ///             let item = ctx.receive(ITEM).await?;
    ///             total.update(|total| *total += item);
    ///         }
    ///         #[allow(unreachable_code)]
    ///         Ok::<_, WaitError>(())
    ///     };
    ///     let enough = ctx.wait_until(|| total.get() >= 100).timeout(hours(1));
    ///     match ctx.race(enough, collecting).await {
    ///         Either::Left(Ok(()) | Err(WaitError::TimedOut)) => Ok(total.get()),
    ///         Either::Left(Err(error)) | Either::Right(Err(error)) => Err(error.into()),
    ///         Either::Right(Ok(())) => Ok(total.get()),
    ///     }
    /// }
    /// ```
    #[track_caller]
    pub fn wait_until<F: FnMut() -> bool>(&self, condition: F) -> WaitUntil<F> {
        let at = self.note("wait_until");
        WaitUntil::new(self.run.clone(), self.shielded, condition, at)
    }

    /// Answers a query with a value that the code keeps current through the handle.
    #[track_caller]
    pub fn answer<R>(&self, query: Query<(), R>, initial: R) -> Answer<R>
    where
        R: Serialize + Send + 'static,
    {
        self.note("answer");
        let answer = Answer::new(self.run.clone(), initial);
        let value = answer.value();
        let handler = move |_: &Payload| {
            encode_bounded(&*lock(&value)).map_err(|reason| format!("its answer {reason}"))
        };
        self.declare(query.name(), Arc::new(Mutex::new(handler)));
        answer
    }

    /// Answers a query by calling `answer`, which must not change anything.
    #[track_caller]
    pub fn on_query<A, R>(&self, query: Query<A, R>, answer: impl Fn(A) -> R + Send + 'static)
    where
        A: DeserializeOwned,
        R: Serialize,
    {
        self.note("on_query");
        let handler = move |argument: &Payload| {
            let expected = std::any::type_name::<A>();
            let argument =
                argument.decode().map_err(|error| format!("its argument is not a `{expected}`: {error}"))?;
            encode_bounded(&answer(argument)).map_err(|reason| format!("its answer {reason}"))
        };
        self.declare(query.name(), Arc::new(Mutex::new(handler)));
    }

    /// Runs two branches until one is done, records which, and drops the other one: what it had asked for
    /// is cancelled. When both are done in the same turn the left one wins.
    ///
    /// ```
    /// use stepwell_worker_replay::*;
    /// # struct Ask;
    /// # impl Activity for Ask { type Input = (); type Output = u32; const NAME: &'static str = "ask"; }
    /// async fn code(ctx: WorkflowContext, _: ()) -> Result<u32, WorkflowError> {
    ///     match ctx.race(ctx.run(Ask, ()), ctx.sleep(mins(1))).await {
    ///         Either::Left(answer) => Ok(answer?),
    ///         Either::Right(slept) => {
    ///             slept?;
    ///             Ok(0)
    ///         }
    ///     }
    /// }
    /// ```
    #[track_caller]
    pub fn race<A: Future, B: Future>(&self, left: A, right: B) -> Race<A, B> {
        let at = self.note("race");
        Race::new(self.run.clone(), left, right, at)
    }

    /// Runs branches of one type until one is done, records which, and drops the others. Gives the
    /// winner's index and output; when several are done in the same turn the first one wins.
    #[track_caller]
    pub fn race_all<F: Future>(&self, branches: impl IntoIterator<Item = F>) -> RaceAll<F> {
        let at = self.note("race_all");
        RaceAll::new(self.run.clone(), branches, at)
    }

    /// Calls `work` for every item, at most `limit` at a time, and gives the results in the order of the
    /// items.
    ///
    /// ```
    /// use stepwell_worker_replay::*;
    /// # struct Page;
    /// # impl Activity for Page { type Input = u32; type Output = String; const NAME: &'static str = "page"; }
    /// async fn code(ctx: WorkflowContext, pages: u32) -> Result<String, WorkflowError> {
    ///     let texts = ctx.map_concurrent(0..pages, 8, |ctx, page| async move { ctx.run(Page, page).await });
    ///     Ok(texts.await.into_iter().collect::<Result<String, _>>()?)
    /// }
    /// ```
    #[track_caller]
    pub fn map_concurrent<I, F, Fut>(
        &self,
        items: I,
        limit: usize,
        work: F,
    ) -> impl Future<Output = Vec<Fut::Output>> + use<I, F, Fut>
    where
        I: IntoIterator,
        F: FnMut(WorkflowContext, I::Item) -> Fut,
        Fut: Future,
    {
        self.note("map_concurrent");
        concurrent::map_concurrent(self.clone(), items.into_iter().collect(), limit, work)
    }

    /// From here on nothing that was done so far is undone: what is registered is released.
    #[track_caller]
    pub fn pivot(&self) {
        let at = self.note("pivot");
        if let Some(mut state) = self.run.act("pass a pivot") {
            state.ask_new(Some(at), |seq| Command::Pivot { seq });
        }
    }

    /// Undoes what was done so far, in reverse order, and waits for it. Without this it happens when the
    /// run fails or is cancelled; this is for code that goes on in another way.
    ///
    /// ```
    /// use stepwell_worker_replay::*;
    /// # struct Book;
    /// # impl Activity for Book { type Input = String; type Output = u64; const NAME: &'static str = "book"; }
    /// # struct Unbook;
    /// # impl Activity for Unbook { type Input = Undo<String, u64>; type Output = (); const NAME: &'static str = "unbook"; }
    /// async fn code(ctx: WorkflowContext, _: ()) -> Result<&'static str, WorkflowError> {
    ///     let flight = ctx.run(Book, "flight".to_owned()).compensate(Unbook).await;
    ///     let hotel = ctx.run(Book, "hotel".to_owned()).compensate(Unbook).await;
    ///     if flight.is_ok() && hotel.is_ok() {
    ///         return Ok("booked");
    ///     }
    ///     ctx.compensate().await?;
    ///     Ok("nothing was free")
    /// }
    /// ```
    #[track_caller]
    pub fn compensate(&self) -> Compensating {
        let at = self.note("compensate");
        Compensating::new(self.run.clone(), self.shielded, at)
    }

    /// The time of the current turn. It does not move while the code runs.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        at(self.run.state().now_ms)
    }

    /// A random value, the same on every replay. Not for secrets.
    #[must_use]
    #[track_caller]
    pub fn random<T: Random>(&self) -> T {
        T::from_random_bits(self.random_u64())
    }

    /// 64 random bits, the same on every replay. Not for secrets.
    #[must_use]
    #[track_caller]
    pub fn random_u64(&self) -> u64 {
        self.note("random");
        self.run.act("draw random numbers").map_or(0, |mut state| state.random().next_u64())
    }

    /// A version 4 UUID in lower-case hyphenated form, the same on every replay. Not for secrets.
    #[must_use]
    #[track_caller]
    pub fn uuid(&self) -> String {
        self.note("uuid");
        self.run.act("draw random numbers").map(|mut state| random::uuid(state.random())).unwrap_or_default()
    }

    /// Facts about this run.
    #[must_use]
    pub fn info(&self) -> RunInfo {
        let state = self.run.state();
        let started = state.started.as_deref();
        let fallback = || Name::new("default").expect("a valid name");
        RunInfo {
            workflow_id: state.workflow_id.clone(),
            run_id: state.run_id.clone(),
            workflow_type: started.map_or_else(fallback, |started| started.workflow_type.clone()),
            queue: started.map_or_else(fallback, |started| started.queue.clone()),
            attempt: 1,
            history_length: state.index,
            started_at: at(state.started_at_ms),
        }
    }

    /// Whether the code is retracing what is recorded. For muting logs only: code that decides by it is
    /// not deterministic.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.run.state().replaying
    }

    /// A context whose waits do not end when the run is asked to stop: for cleaning up.
    ///
    /// ```
    /// use stepwell_worker_replay::*;
    /// # struct Work;
    /// # impl Activity for Work { type Input = (); type Output = (); const NAME: &'static str = "work"; }
    /// # struct Release;
    /// # impl Activity for Release { type Input = (); type Output = (); const NAME: &'static str = "release"; }
    /// async fn code(ctx: WorkflowContext, _: ()) -> Result<(), WorkflowError> {
    ///     let worked = ctx.run(Work, ()).await;
    ///     // Also when the run was asked to stop in the middle of the work.
    ///     ctx.shielded().run(Release, ()).await?;
    ///     Ok(worked?)
    /// }
    /// ```
    #[must_use]
    pub fn shielded(&self) -> Self {
        Self { run: self.run.clone(), shielded: true }
    }

    /// Whether the run was asked to stop, or ran into its timeout.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.run.state().cancel.is_some()
    }

    /// Why the run was asked to stop, once it was.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<String> {
        self.run.state().cancel.as_ref().map(|failure| failure.message.clone())
    }

    /// Waits until the run is asked to stop, or runs into its timeout.
    #[track_caller]
    pub fn cancelled(&self) -> CancelledFuture {
        self.note("cancelled");
        CancelledFuture::new(self.run.clone())
    }

    fn declare(&self, name: &str, handler: Handler) {
        let before = self
            .run
            .act("declare queries")
            .and_then(|mut state| state.queries.insert(name.to_owned(), handler));
        drop(before);
    }

    #[track_caller]
    fn note(&self, what: &'static str) -> &'static Location<'static> {
        let at = Location::caller();
        self.run.note(what, at);
        at
    }
}

impl fmt::Debug for WorkflowContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.run.state();
        f.debug_struct("WorkflowContext")
            .field("workflow_id", &state.workflow_id)
            .field("run_id", &state.run_id)
            .field("shielded", &self.shielded)
            .finish_non_exhaustive()
    }
}

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}
