//! Durations as workflow code writes them, and as commands and messages carry them. Arithmetic only; it
//! never reads a clock.

use std::time::Duration;

use stepwell_shared::limits::MAX_DURATION_MS;

/// `n` seconds.
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` minutes.
#[must_use]
pub const fn mins(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60))
}

/// `n` hours.
#[must_use]
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60 * 60))
}

/// `n` days of 24 hours.
#[must_use]
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(24 * 60 * 60))
}

/// Whole milliseconds, rounded up so that nothing is early, and no more than the format carries.
pub(crate) fn to_ms(duration: Duration) -> u64 {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).unwrap_or(u64::MAX).min(MAX_DURATION_MS)
}

/// A duration for a person: `1h30m`, `2.5s`, `40ms`.
pub(crate) fn show_ms(ms: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m")];
    let mut rest = ms;
    let mut text = String::new();
    for (unit, name) in UNITS {
        if rest >= unit {
            text += &format!("{}{name}", rest / unit);
            rest %= unit;
        }
    }
    match rest {
        0 if !text.is_empty() => {}
        part if part % 1_000 == 0 => text += &format!("{}s", part / 1_000),
        part if part > 1_000 => text += &format!("{}s", part as f64 / 1_000.0),
        part => text += &format!("{part}ms"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_up_and_are_bounded() {
        assert_eq!(to_ms(Duration::ZERO), 0);
        assert_eq!(to_ms(Duration::from_nanos(1)), 1);
        assert_eq!(to_ms(Duration::from_micros(1_001)), 2);
        assert_eq!(to_ms(Duration::MAX), MAX_DURATION_MS);
        assert_eq!(to_ms(days(u64::MAX)), MAX_DURATION_MS);
    }

    #[test]
    fn durations_read_well() {
        let shown: Vec<String> =
            [0, 40, 1_000, 2_500, 30_000, 60_000, 5_400_000, 90_061_001].map(show_ms).into();
        assert_eq!(shown, ["0s", "40ms", "1s", "2.5s", "30s", "1m", "1h30m", "1d1h1m1.001s"]);
    }
}
