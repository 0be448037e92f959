//! Tells wakes that come from Stepwell or from the code itself from wakes that come from elsewhere.
//!
//! While a thread drives an instance it carries that instance's mark. A wake on that thread is one that
//! every replay repeats: an event was applied, or the code's own branches woke each other. A wake on any
//! other thread, or while nothing is driven, comes from outside of history.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

thread_local! {
    /// The mark of the instance that this thread drives at the moment; 0 for none.
    static DRIVING: Cell<usize> = const { Cell::new(0) };
}

/// What the outermost future of a run is polled with.
#[derive(Debug, Default)]
pub(crate) struct RootWaker {
    woken: AtomicBool,
    foreign: AtomicBool,
}

impl RootWaker {
    /// Whether the code asked to be polled again since the last call.
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Relaxed)
    }

    /// Whether anything from outside has ever woken the code.
    pub(crate) fn was_foreign(&self) -> bool {
        self.foreign.load(Ordering::Acquire)
    }

    /// Whether the calling thread drives this instance.
    pub(crate) fn is_driven_here(self: &Arc<Self>) -> bool {
        // A thread that is going away drives nothing.
        DRIVING.try_with(|driving| driving.get() == mark(self)).unwrap_or(false)
    }
}

impl Wake for RootWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_driven_here() {
            self.woken.store(true, Ordering::Relaxed);
        } else {
            self.foreign.store(true, Ordering::Release);
        }
    }
}

/// Held while the calling thread drives an instance.
pub(crate) struct Driving {
    before: usize,
}

impl Driving {
    pub(crate) fn enter(waker: &Arc<RootWaker>) -> Self {
        let mark = mark(waker);
        Self { before: DRIVING.try_with(|driving| driving.replace(mark)).unwrap_or(0) }
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        // The thread may be going away; then there is nothing to put back.
        let _ = DRIVING.try_with(|driving| driving.set(self.before));
    }
}

/// Whether the calling thread drives any instance.
pub(crate) fn drives_any() -> bool {
    DRIVING.try_with(|driving| driving.get() != 0).unwrap_or(false)
}

/// The waker's address: unique among instances that are alive.
fn mark(waker: &Arc<RootWaker>) -> usize {
    Arc::as_ptr(waker) as usize
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn only_wakes_of_the_driving_thread_are_the_runs_own() {
        let root = Arc::new(RootWaker::default());
        let waker = Waker::from(root.clone());
        let driving = Driving::enter(&root);
        waker.wake_by_ref();
        assert!(root.take_woken() && !root.take_woken() && !root.was_foreign());

        std::thread::scope(|scope| scope.spawn(|| waker.wake_by_ref()).join().unwrap());
        assert!(!root.take_woken() && root.was_foreign());
        drop(driving);
    }

    #[test]
    fn another_instances_turn_is_foreign_and_nesting_is_undone() {
        let (one, two) = (Arc::new(RootWaker::default()), Arc::new(RootWaker::default()));
        let outer = Driving::enter(&one);
        {
            let _inner = Driving::enter(&two);
            Waker::from(one.clone()).wake();
            assert!(one.was_foreign() && !one.take_woken());
        }
        assert!(one.is_driven_here() && !two.is_driven_here());
        drop(outer);
        assert!(!one.is_driven_here() && !drives_any());
    }
}
