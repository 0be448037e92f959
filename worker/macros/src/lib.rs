//! The attribute macros of Stepwell. Use them through the `stepwell` crate, which re-exports them; what
//! they write names only that crate.

mod activity;
mod duration;
mod options;
mod signature;
mod workflow;

use proc_macro::TokenStream;

/// Makes a workflow out of an async function.
///
/// The function becomes a unit struct of its name that implements `stepwell::WorkflowDefinition`; its body
/// stays reachable as `name::call`. The first parameter is the `WorkflowContext`; what follows is the
/// input: nothing, one value, or several, which are passed as a tuple.
///
/// Options: `queue = "…"` (default `default`), `name = "…"` (default the function's name).
#[proc_macro_attribute]
pub fn workflow(options: TokenStream, item: TokenStream) -> TokenStream {
    workflow::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an activity out of an async function.
///
/// The function becomes a unit struct of its name that implements `stepwell::Activity`; its body stays
/// reachable as `name::call`. The first parameter is the `ActivityContext`; what follows is the input.
///
/// Options: `start_to_close`, `schedule_to_start`, `schedule_to_close`, `heartbeat` (durations such as
/// `"30s"`, `"5m"`, `"250ms"`), `queue`, `name`, and `retry(max_attempts = 5, initial = "1s",
/// coefficient = 2.0, max_interval = "1m", jitter = 0.2, non_retryable = ["TypeName"])`.
#[proc_macro_attribute]
pub fn activity(options: TokenStream, item: TokenStream) -> TokenStream {
    activity::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes activities out of the methods of an `impl` block that bear `#[activity(…)]`.
///
/// The methods stay as they are. Beside the block stands a unit struct for each, of the method's name, by
/// which workflows call it; an instance of the type is registered with `Worker::activities`.
#[proc_macro_attribute]
pub fn activities(options: TokenStream, item: TokenStream) -> TokenStream {
    activity::expand_impl(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
