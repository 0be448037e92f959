//! What the macros write paths to. Not part of the API; it may change at any time.

pub use tracing;

/// The `T` of a `Result<T, E>`.
#[diagnostic::on_unimplemented(
    message = "a workflow returns `Result<T, WorkflowError>` and an activity `Result<T, ActivityError>`, not `{Self}`",
    label = "must be a `Result`"
)]
pub trait Returned {
    /// The `T`.
    type Value;
}

impl<T, E> Returned for Result<T, E> {
    type Value = T;
}

/// A result with the error that the trait wants.
///
/// # Errors
/// The same error, converted.
pub fn convert_error<T, E: Into<F>, F>(result: Result<T, E>) -> Result<T, F> {
    result.map_err(Into::into)
}
