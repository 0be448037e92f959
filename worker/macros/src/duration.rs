//! Durations as people write them in attributes: `500ms`, `30s`, `1h30m`.

/// The longest duration that a message carries, as `stepwell_shared::limits::MAX_DURATION_MS`.
const MAX_MS: u64 = 100 * 366 * 24 * 60 * 60 * 1_000;

/// What is expected, for messages.
pub(crate) const EXPECTED: &str =
    "expected a duration such as \"500ms\", \"30s\", \"5m\", \"1h30m\" or \"7d\"";

/// Milliseconds, or what is wrong with the text.
pub(crate) fn parse_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("cannot read the duration {text:?}; {EXPECTED}");
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = match unit {
            "ms" => 1,
            "s" | "sec" | "secs" => 1_000,
            "m" | "min" | "mins" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(unit).and_then(|ms| total.checked_add(ms)).unwrap_or(u64::MAX);
        rest = tail.trim_start();
    }
    match total {
        0 => Err(format!("the duration {text:?} is zero; it must be at least 1ms")),
        ms if ms > MAX_MS => Err(format!("the duration {text:?} is longer than 100 years")),
        ms => Ok(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("7d", 604_800_000),
        ];
        for (text, ms) in cases {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        let wrong =
            ["", "30", "s", "-1s", "1.5s", "1w", "0s", "0h0m", "40000000d", "99999999999999999999s", "é"];
        for text in wrong {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }
}
