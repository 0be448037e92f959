//! The payloads of 200 bytes that every message carries.

use serde::Serialize;

/// Bytes of a payload's JSON text.
pub const PAYLOAD_BYTES: usize = 200;

/// Text whose JSON form, with its quotes, has [`PAYLOAD_BYTES`].
#[must_use]
pub fn text() -> String {
    filler(PAYLOAD_BYTES - 2)
}

/// What `make` makes of a text, such that its JSON form has [`PAYLOAD_BYTES`]; more when it has as many without the text.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Order { number: u32, filler: String }
///
/// let order = stepwell_bench_measure::payload::padded(|filler| Order { number: 7, filler });
/// assert_eq!(serde_json::to_string(&order).unwrap().len(), 200);
/// ```
pub fn padded<T: Serialize>(make: impl Fn(String) -> T) -> T {
    let empty = serde_json::to_string(&make(String::new())).map_or(0, |text| text.len());
    make(filler(PAYLOAD_BYTES.saturating_sub(empty)))
}

fn filler(len: usize) -> String {
    "stepwell ".chars().cycle().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_size_that_is_said() {
        for number in [1, 1_000_000] {
            let payload = padded(|filler| (number, filler));
            assert_eq!(serde_json::to_string(&payload).unwrap().len(), PAYLOAD_BYTES);
        }
        assert_eq!(serde_json::to_string(&text()).unwrap().len(), PAYLOAD_BYTES);
        let large = padded(|filler| ("x".repeat(300), filler));
        assert!(large.1.is_empty());
    }
}
