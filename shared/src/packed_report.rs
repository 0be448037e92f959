//! A report in a pack of reports: the end of the subject under which it would be published alone, a line feed, and what
//! would be its body. A subject has no line feed in it.

/// Puts a report into the form that it has in a pack.
#[must_use]
pub fn join(end: &str, report: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(end.len() + 1 + report.len());
    joined.extend_from_slice(end.as_bytes());
    joined.push(b'\n');
    joined.extend_from_slice(report);
    joined
}

/// The end of the subject and how many bytes precede the report; `None` when it has not this form.
#[must_use]
pub fn split(joined: &[u8]) -> Option<(&str, usize)> {
    let at = joined.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&joined[..at]).ok()?, at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_is_split() {
        let joined = join("a.activity.r.1", b"{\n}");
        let (end, at) = split(&joined).unwrap();
        assert_eq!((end, &joined[at..]), ("a.activity.r.1", &b"{\n}"[..]));
        assert_eq!(split(b"\n"), Some(("", 1)));
        assert_eq!(split(b"{}"), None);
        assert_eq!(split(b"\xFF\n{}"), None);
    }
}
