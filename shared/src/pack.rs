//! Several small bodies for one receiver in one message, named in a header: `<place>:<bytes>,…` in the order of the
//! bodies. A message costs the server and both ends the same however little is in it.

use std::iter::Peekable;

use crate::limits::MAX_PACK;

/// What a message holds: the place of each body, and how many bytes it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackIndex(Vec<(usize, usize)>);

impl PackIndex {
    /// Adds a body behind the others.
    pub fn push(&mut self, place: usize, bytes: usize) {
        self.0.push((place, bytes));
    }

    /// The header's value.
    #[must_use]
    pub fn header(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(self.0.len() * 8);
        for (place, bytes) in &self.0 {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{place}:{bytes}");
        }
        text
    }

    /// Reads the header's value for a message of `len` bytes; `None` when it makes no sense.
    #[must_use]
    pub fn parse(text: &str, len: usize) -> Option<Self> {
        let mut index = Vec::new();
        let mut left = len;
        for part in text.split(',') {
            let (place, bytes) = part.split_once(':')?;
            let (place, bytes): (usize, usize) = (place.parse().ok()?, bytes.parse().ok()?);
            left = left.checked_sub(bytes)?;
            if index.len() == MAX_PACK || place >= MAX_PACK {
                return None;
            }
            index.push((place, bytes));
        }
        (left == 0).then_some(Self(index))
    }

    /// The place of each body and where in the message it is.
    pub fn bodies(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + '_ {
        let mut at = 0;
        self.0.iter().map(move |(place, bytes)| {
            let begin = at;
            at += bytes;
            (*place, begin..at)
        })
    }
}

/// Takes from the front as many bodies as go into one message of `limit` bytes: at most [`MAX_PACK`], and one however
/// large it is. None when there are none.
pub fn take_fitting<T>(
    bodies: &mut Peekable<impl Iterator<Item = T>>,
    size: impl Fn(&T) -> usize,
    limit: usize,
) -> Vec<T> {
    let (mut taken, mut bytes) = (Vec::new(), 0_usize);
    while let Some(body) = bodies.next_if(|body| {
        taken.is_empty() || (taken.len() < MAX_PACK && bytes.saturating_add(size(body)) <= limit)
    }) {
        bytes = bytes.saturating_add(size(&body));
        taken.push(body);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut index = PackIndex::default();
        index.push(0, 3);
        index.push(7, 0);
        index.push(2, 5);
        assert_eq!(index.header(), "0:3,7:0,2:5");
        assert_eq!(PackIndex::parse(&index.header(), 8), Some(index.clone()));
        let bodies: Vec<_> = index.bodies().collect();
        assert_eq!(bodies, [(0, 0..3), (7, 3..3), (2, 3..8)]);
    }

    #[test]
    fn as_many_are_taken_as_fit() {
        let take = |sizes: &[usize], limit| {
            let mut sizes = sizes.iter().copied().peekable();
            let mut taken = Vec::new();
            while sizes.peek().is_some() {
                taken.push(take_fitting(&mut sizes, |size| *size, limit));
            }
            taken
        };
        assert_eq!(take(&[3, 4, 3, 1, 9, 0], 7), [vec![3, 4], vec![3, 1], vec![9], vec![0]]);
        assert_eq!(take(&[usize::MAX, usize::MAX], usize::MAX - 1), [[usize::MAX], [usize::MAX]]);
        let counts: Vec<usize> = take(&[0; MAX_PACK + 1], 0).iter().map(Vec::len).collect();
        assert_eq!(counts, [MAX_PACK, 1]);
        assert!(take_fitting(&mut std::iter::empty::<usize>().peekable(), |size| *size, 7).is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, len) in [
            ("", 0),
            ("0", 1),
            ("0:1", 2),
            ("0:2", 1),
            ("0:1,", 1),
            ("-1:1", 1),
            ("0:18446744073709551615,1:2", 1),
            ("100000:1", 1),
        ] {
            assert_eq!(PackIndex::parse(text, len), None, "{text} of {len}");
        }
        let many = vec!["0:0"; MAX_PACK + 1].join(",");
        assert_eq!(PackIndex::parse(&many, 0), None);
    }
}
