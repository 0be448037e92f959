//! Durations in attributes, read when the program is compiled.

use syn::LitStr;

/// Milliseconds of a text such as `30s`, `1m 30s` or `250ms`.
pub(crate) fn milliseconds(literal: &LitStr) -> syn::Result<u64> {
    let text = literal.value();
    parse(&text).ok_or_else(|| {
        let message =
            format!("cannot read {text:?} as a duration; write for example 250ms, 30s, 5m, 12h or 7d");
        syn::Error::new(literal.span(), message)
    })
}

fn parse(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = match &after[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = after[end..].trim_start();
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_read() {
        for (text, wanted) in [("30s", 30_000), ("1m 30s", 90_000), ("250ms", 250), ("7d", 604_800_000)] {
            assert_eq!(parse(text), Some(wanted), "{text}");
        }
        for bad in ["", "30", "s", "3x", "0s", "-1s", "99999999999999999999s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
