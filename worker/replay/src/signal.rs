//! The name and type of a signal. Sending and receiving are elsewhere.

use std::fmt;
use std::marker::PhantomData;

use crate::name::assert_name;

/// A message that a workflow understands: a name, and the type that it carries.
///
/// ```
/// use stepwell_worker_replay::Signal;
///
/// const APPROVE: Signal<bool> = Signal::new("approve");
/// assert_eq!(APPROVE.name(), "approve");
/// ```
pub struct Signal<T> {
    name: &'static str,
    carries: PhantomData<fn(T) -> T>,
}

impl<T> Signal<T> {
    /// A signal of this name.
    ///
    /// # Panics
    /// When `name` is empty, longer than 128 bytes or holds anything but ASCII letters, digits, `_` and
    /// `-`. In a `const` that is an error at compile time.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert_name(name);
        Self { name, carries: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Signal<T> {}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signal({:?})", self.name)
    }
}
