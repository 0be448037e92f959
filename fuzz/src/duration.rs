//! Durations as people write them, on command lines and in attributes: both readers agree on what both
//! can read.

use std::time::Duration;

use stepwell_shared::limits::MAX_DURATION_MS;

use crate::attribute_duration::parse_ms;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let flag = humantime::parse_duration(text);
    if let Ok(ms) = parse_ms(text) {
        assert!((1..=MAX_DURATION_MS).contains(&ms));
        assert_eq!(flag, Ok(Duration::from_millis(ms)), "{text:?} is {ms} ms in an attribute");
    }
    if let Ok(duration) = flag {
        let shown = humantime::format_duration(duration).to_string();
        assert_eq!(humantime::parse_duration(&shown), Ok(duration), "{shown:?}");
    }
}
