//! The attribute macros `#[workflow]`, `#[activity]` and `#[activities]`.
//!
//! They turn functions into items that carry their types, name and options. They write paths that begin
//! with `::stepwell` and nothing else, so a crate that uses them depends on `stepwell` alone; use them
//! through it. They never look at a function's body.

mod activities;
mod activity;
mod duration;
mod options;
mod signature;
mod workflow;

use proc_macro::TokenStream;

/// Makes a workflow of a free `async fn`.
///
/// ```ignore
/// #[workflow(queue = "documents")]
/// async fn document_pipeline(ctx: WorkflowContext, doc_id: String) -> Result<Outcome, WorkflowError> { /* … */ }
/// ```
///
/// The first argument is the `WorkflowContext`; the others, none or several, are the input: nothing, the one
/// value, or a tuple of all. The name `document_pipeline` can then be given to `Worker::workflow` and
/// `Client::start`; `document_pipeline::call(ctx, doc_id)` is the function itself.
///
/// Options:
/// * `queue = "…"`: the queue whose workers run it unless its starter says otherwise; `default` if absent.
/// * `name = "…"`: the workflow type; the function's name if absent.
#[proc_macro_attribute]
pub fn workflow(options: TokenStream, item: TokenStream) -> TokenStream {
    finish(workflow::expand(options.into(), item.into()))
}

/// Makes an activity of a free `async fn`, or of a method inside an `impl` block with `#[activities]`.
///
/// ```ignore
/// #[activity(start_to_close = "30s", retry(max_attempts = 5, non_retryable = ["InvalidApiKey"]))]
/// async fn generate_summary(ctx: ActivityContext, text: String) -> Result<String, ActivityError> { /* … */ }
/// ```
///
/// The first argument is the `ActivityContext`; the others, none or several, are the input: nothing, the one
/// value, or a tuple of all. The name `generate_summary` can then be given to `WorkflowContext::run` and
/// `Worker::activity`; `generate_summary::call(ctx, text)` is the function itself, for tests.
///
/// Options, which a call in a workflow may replace; durations are texts such as `"500ms"`, `"30s"`,
/// `"1h30m"`, `"7d"`:
/// * `start_to_close`: longest time for one attempt. This one or `schedule_to_close` must be given, here
///   or at the call.
/// * `schedule_to_close`: longest time with all attempts and waits.
/// * `schedule_to_start`: longest time that an attempt may wait for a worker.
/// * `heartbeat`: longest gap between two heartbeats.
/// * `queue = "…"`: where workers look for it; the queue of the calling run if absent.
/// * `name = "…"`: the activity type; the function's name if absent.
/// * `retry(max_attempts = 5, initial = "1s", coefficient = 2.0, max_interval = "1m", jitter = 0.2,
///   non_retryable = ["Type", …])`: how failed attempts are repeated.
#[proc_macro_attribute]
pub fn activity(options: TokenStream, item: TokenStream) -> TokenStream {
    finish(activity::expand(options.into(), item.into()))
}

/// Makes activities of methods, so that they share clients and pools.
///
/// ```ignore
/// #[activities]
/// impl Payments {
///     #[activity(start_to_close = "10s")]
///     async fn charge(&self, ctx: ActivityContext, order: Order) -> Result<ChargeId, ActivityError> { /* … */ }
/// }
/// ```
///
/// The methods stay what they are. Beside the `impl` each of them also becomes an item of its name, here
/// `charge`, for `WorkflowContext::run`; `Worker::activities(Payments::new())` registers them all.
/// Methods without `#[activity]` are left alone.
#[proc_macro_attribute]
pub fn activities(options: TokenStream, item: TokenStream) -> TokenStream {
    finish(activities::expand(options.into(), item.into()))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}
