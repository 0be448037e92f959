//! The name and types of a query, and the handle by which workflow code keeps the answer current.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::name::assert_name;
use crate::run::Shared;

/// A question that a workflow answers without changing: a name, what is asked with it, and the answer.
///
/// ```
/// use stepwell_worker_replay::Query;
///
/// const STATUS: Query<(), String> = Query::new("get_status");
/// const PRICE_OF: Query<u32, Option<f64>> = Query::new("price_of");
/// assert_eq!((STATUS.name(), PRICE_OF.name()), ("get_status", "price_of"));
/// ```
pub struct Query<Argument, Answer> {
    name: &'static str,
    types: PhantomData<fn(Argument) -> Answer>,
}

impl<A, R> Query<A, R> {
    /// A query of this name.
    ///
    /// # Panics
    /// When `name` is empty, longer than 128 bytes or holds anything but ASCII letters, digits, `_` and
    /// `-`. In a `const` that is an error at compile time.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert_name(name);
        Self { name, types: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<A, R> Clone for Query<A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R> Copy for Query<A, R> {}

impl<A, R> fmt::Debug for Query<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Query({:?})", self.name)
    }
}

/// A value that answers a query, and that workflow code may also use as an ordinary variable.
/// Made by [`WorkflowContext::answer`](crate::WorkflowContext::answer); clones share the value.
pub struct Answer<T> {
    value: Arc<Mutex<T>>,
    run: Arc<Shared>,
}

impl<T> Answer<T> {
    pub(crate) fn new(run: Arc<Shared>, initial: T) -> Self {
        Self { value: Arc::new(Mutex::new(initial)), run }
    }

    /// The value alone, for the query's handler: it must not keep the run alive.
    pub(crate) fn value(&self) -> Arc<Mutex<T>> {
        self.value.clone()
    }

    /// Replaces the value. Inside a query it changes nothing, and the query fails.
    pub fn set(&self, value: T) {
        self.update(|current| *current = value);
    }

    /// Changes the value in place. Inside a query it changes nothing, and the query fails.
    pub fn update(&self, change: impl FnOnce(&mut T)) {
        if self.run.may_change("change an answer") {
            change(&mut lock(&self.value));
        }
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        lock(&self.value).clone()
    }

    /// Something read off the value, without cloning all of it.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&lock(&self.value))
    }
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), run: self.run.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&*lock(&self.value)).finish()
    }
}

/// A panic in user code must not make the value unreadable for good.
pub(crate) fn lock<T: ?Sized>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
