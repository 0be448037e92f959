//! Requests for the same receiver that are made at the same time and sent as one message. Data only: it says what is to
//! be sent and who waits for what of an answer; it sends nothing.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use stepwell_shared::pack::{PackIndex, take_fitting};

/// Requests that are to be sent, and packs of which answers are missing.
#[derive(Debug, Default)]
pub(crate) struct Packs {
    pending: HashMap<String, Vec<(u64, Bytes)>>,
    /// By the number of the pack: whoever waits for the answer in each place.
    open: HashMap<u64, Pack>,
}

#[derive(Debug)]
struct Pack {
    members: Vec<u64>,
    left: usize,
}

/// A message to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// The numbers under which the answers are waited for.
    pub(crate) members: Vec<u64>,
    /// What is in it; nothing when it is one request as it is.
    pub(crate) index: Option<PackIndex>,
    pub(crate) body: Bytes,
}

impl Packs {
    /// Adds a request. True when it is the first one that waits to be sent.
    pub(crate) fn add(&mut self, subject: String, number: u64, body: Bytes) -> bool {
        let first = self.pending.is_empty();
        self.pending.entry(subject).or_default().push((number, body));
        first
    }

    /// Takes everything that waits to be sent, by subject.
    pub(crate) fn take(&mut self) -> HashMap<String, Vec<(u64, Bytes)>> {
        std::mem::take(&mut self.pending)
    }

    /// Answers to this pack are expected.
    pub(crate) fn expect(&mut self, number: u64, members: Vec<u64>) {
        let left = members.len();
        self.open.insert(number, Pack { members, left });
    }

    /// Whoever waits for the answers to a pack.
    pub(crate) fn members(&self, number: u64) -> Option<&[u64]> {
        self.open.get(&number).map(|pack| pack.members.as_slice())
    }

    /// One of a pack waits no more.
    pub(crate) fn leave(&mut self, number: u64) {
        if let Some(pack) = self.open.get_mut(&number) {
            pack.left -= 1;
            if pack.left == 0 {
                self.open.remove(&number);
            }
        }
    }
}

/// Puts requests for one receiver into as few messages of at most `limit` bytes as hold them, in order. One that is
/// larger goes by itself.
pub(crate) fn pack(requests: Vec<(u64, Bytes)>, limit: usize) -> Vec<Packed> {
    let mut packed = Vec::new();
    let mut requests = requests.into_iter().peekable();
    while requests.peek().is_some() {
        let some = take_fitting(&mut requests, |(_, body)| body.len(), limit);
        let members = some.iter().map(|(number, _)| *number).collect();
        if let [(_, body)] = some.as_slice() {
            packed.push(Packed { members, index: None, body: body.clone() });
            continue;
        }
        let mut index = PackIndex::default();
        let mut bytes = BytesMut::with_capacity(some.iter().map(|(_, body)| body.len()).sum());
        for (place, (_, body)) in some.iter().enumerate() {
            index.push(place, body.len());
            bytes.extend_from_slice(body);
        }
        packed.push(Packed { members, index: Some(index), body: bytes.freeze() });
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u64) -> (u64, Bytes) {
        (number, Bytes::from(format!("<{number}>")))
    }

    #[test]
    fn one_request_goes_as_it_is() {
        let packed = pack(vec![request(7)], 9);
        assert_eq!(packed, [Packed { members: vec![7], index: None, body: "<7>".into() }]);
    }

    #[test]
    fn several_go_together_and_too_many_in_several() {
        let packed = pack(vec![request(7), request(11)], 9);
        let index = PackIndex::parse("0:3,1:4", 7);
        assert_eq!(packed, [Packed { members: vec![7, 11], index, body: "<7><11>".into() }]);
        let packed = pack(vec![request(1), request(2), request(3), (4, Bytes::from("larger"))], 6);
        let members: Vec<_> = packed.iter().map(|packed| packed.members.as_slice()).collect();
        assert_eq!(members, [&[1, 2][..], &[3], &[4]]);
    }

    #[test]
    fn a_pack_is_forgotten_when_nobody_waits_any_more() {
        let mut packs = Packs::default();
        assert!(packs.add("a".into(), 1, Bytes::new()));
        assert!(!packs.add("b".into(), 2, Bytes::new()));
        assert_eq!(packs.take().len(), 2);
        assert!(packs.add("a".into(), 3, Bytes::new()));
        packs.expect(9, vec![1, 2]);
        assert_eq!(packs.members(9), Some([1, 2].as_slice()));
        packs.leave(9);
        assert!(packs.members(9).is_some());
        packs.leave(9);
        assert!(packs.members(9).is_none());
        packs.leave(9);
    }
}
