//! Times and durations for people, and durations as people write them.

use std::time::{Duration, UNIX_EPOCH};

use clap::ValueEnum;
use stepwell_connection::clock::now_ms;

/// How times are written in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimeFormat {
    /// `3m 20s ago`
    Relative,
    /// `2026-01-31T12:00:00.000Z`
    Iso,
    /// Milliseconds since 1970
    Unix,
}

/// Writes times as seen from one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    format: TimeFormat,
    now_ms: u64,
}

impl Times {
    /// As seen from now.
    pub(crate) fn from_now(format: TimeFormat) -> Self {
        Self::from_moment(format, now_ms())
    }

    /// As seen from `now_ms`.
    pub(crate) fn from_moment(format: TimeFormat, now_ms: u64) -> Self {
        Self { format, now_ms }
    }

    /// A moment.
    pub(crate) fn moment(&self, ms: u64) -> String {
        match self.format {
            TimeFormat::Relative if ms > self.now_ms => format!("in {}", span(ms - self.now_ms)),
            TimeFormat::Relative => format!("{} ago", span(self.now_ms - ms)),
            TimeFormat::Iso => iso(ms),
            TimeFormat::Unix => ms.to_string(),
        }
    }

    /// A moment, as time since `start_ms` where times are relative.
    pub(crate) fn since(&self, start_ms: u64, ms: u64) -> String {
        match self.format {
            TimeFormat::Relative => format!("+{}", span(ms.saturating_sub(start_ms))),
            TimeFormat::Iso | TimeFormat::Unix => self.moment(ms),
        }
    }

    /// From one moment to another, or to now.
    pub(crate) fn took(&self, start_ms: u64, end_ms: Option<u64>) -> String {
        span(end_ms.unwrap_or(self.now_ms).saturating_sub(start_ms))
    }
}

/// A duration, in its two largest units.
pub(crate) fn span(ms: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let Some(first) = UNITS.iter().position(|(_, size)| ms >= *size) else {
        return "0ms".into();
    };
    let (name, size) = UNITS[first];
    let whole = format!("{}{name}", ms / size);
    match UNITS.get(first + 1) {
        // Milliseconds matter below ten seconds only.
        Some((name, size)) if ms % UNITS[first].1 >= *size && (*size > 1 || ms < 10_000) => {
            format!("{whole} {}{name}", ms % UNITS[first].1 / size)
        }
        Some(_) | None => whole,
    }
}

/// Reads `30s`, `1h 30m`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 30s, 5m, 12h or 7d"))
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn iso(ms: u64) -> String {
    /// The last millisecond of the year 9999; the form has no room for later ones.
    const LAST: u64 = 253_402_300_799_999;
    if ms > LAST {
        return format!("{ms}ms since 1970");
    }
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        let cases = [
            (0, "0ms"),
            (7, "7ms"),
            (1_250, "1s 250ms"),
            (12_345, "12s"),
            (60_000, "1m"),
            (61_500, "1m 1s"),
            (3_600_000, "1h"),
            (90 * 60_000, "1h 30m"),
            (86_400_000 + 59_000, "1d"),
            (8 * 86_400_000 + 3_600_000, "8d 1h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn moments_in_every_format() {
        let at = 1_700_000_000_000;
        let times = |format| Times::from_moment(format, at);
        assert_eq!(times(TimeFormat::Relative).moment(at - 5_000), "5s ago");
        assert_eq!(times(TimeFormat::Relative).moment(at + 60_000), "in 1m");
        assert_eq!(times(TimeFormat::Relative).since(at, at + 20), "+20ms");
        assert_eq!(times(TimeFormat::Iso).moment(at), "2023-11-14T22:13:20.000Z");
        assert_eq!(times(TimeFormat::Iso).moment(u64::MAX), "18446744073709551615ms since 1970");
        assert_eq!(times(TimeFormat::Unix).since(1, at), "1700000000000");
        assert_eq!(times(TimeFormat::Unix).took(at - 1_000, None), "1s");
    }

    #[test]
    fn durations_as_people_write_them() {
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert!(parse_duration("soon").unwrap_err().ends_with("write for example 30s, 5m, 12h or 7d"));
    }
}
