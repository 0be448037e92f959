//! Protections that can be switched off, to see that the checks of the verification run notice it. Only in builds
//! with the feature `sabotage`, which nothing but a program of the tests has; in all others these are constants.

use std::borrow::Cow;

use stepwell_orchestrator_core::Arrival;

/// Whether appends name the sequence that they expect. Without it, whoever was replaced goes on, too.
pub(crate) fn fenced() -> bool {
    !is_off("no-fence")
}

/// From where on a successor reads: from the beginning, where what was taken in is not recognised.
pub(crate) fn read_from(checkpoint: u64) -> u64 {
    if is_off("no-watermark") { 0 } else { checkpoint }
}

/// The arrival with its place in EVENTS, by which a run knows what it has taken in.
pub(crate) fn marked(arrival: &Arrival) -> Cow<'_, Arrival> {
    if is_off("no-watermark") {
        return Cow::Owned(Arrival { sequence: None, ..arrival.clone() });
    }
    Cow::Borrowed(arrival)
}

#[cfg(feature = "sabotage")]
fn is_off(protection: &str) -> bool {
    use std::sync::OnceLock;
    static SWITCH: OnceLock<String> = OnceLock::new();
    SWITCH.get_or_init(|| std::env::var("STEPWELL_SABOTAGE").unwrap_or_default()) == protection
}

#[cfg(not(feature = "sabotage"))]
const fn is_off(_protection: &str) -> bool {
    false
}
