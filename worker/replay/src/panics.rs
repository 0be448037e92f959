//! Panics of user code: what they say, where they came from, and how they are kept from spreading.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::wake::drives_any;

thread_local! {
    /// Where the latest panic in workflow code on this thread was.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets stalls say in which line workflow code panicked. Adds to the panic hook that is installed; once
/// a process, further calls do nothing. Without it a stall names the last Stepwell call instead.
pub fn record_panic_locations() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if drives_any() {
                let place = info.location().map(ToString::to_string);
                let _ = PANICKED_AT.try_with(|at| *at.borrow_mut() = place);
            }
            before(info);
        }));
    });
}

/// Runs user code; a panic becomes its text.
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(code)).map_err(|payload| {
        let place = PANICKED_AT.try_with(RefCell::take).ok().flatten();
        let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
        let text = text(&*payload);
        drop_quietly(payload);
        format!("{text:?}{place}")
    })
}

/// Drops a value of the user's, whose destructors may panic.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // What was panicked with may panic when dropped, and so on without end; a leak is harmless.
        std::mem::forget(payload);
    }
}

/// Whether a panic is a runtime's complaint that it is not there.
pub(crate) fn misses_runtime(text: &str) -> bool {
    [
        "there is no reactor running",
        "Tokio 1.x",
        "no current reactor",
        "not currently running on the Tokio runtime",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

fn text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a value that is not text)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_text_and_never_spread() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic::panic_any(Bomb);
            }
        }
        assert_eq!(catch(|| panic!("number {}", 7)).unwrap_err(), "\"number 7\"");
        assert_eq!(catch(|| panic!("plain")).unwrap_err(), "\"plain\"");
        assert!(catch(|| panic::panic_any(Bomb)).unwrap_err().contains("not text"));
        drop_quietly(Bomb);
    }
}
