//! The index of a pack: what it names lies in the message, one body behind the other, and it is written as it was read.

use stepwell_shared::limits::MAX_PACK;
use stepwell_shared::pack::PackIndex;

pub(crate) fn check(data: &[u8]) {
    // The first two bytes are the length of the message.
    let Some((len, text)) = data.split_at_checked(2) else { return };
    let (len, Ok(text)) = (usize::from(u16::from_le_bytes([len[0], len[1]])), std::str::from_utf8(text))
    else {
        return;
    };
    let Some(index) = PackIndex::parse(text, len) else { return };
    let (mut at, mut bodies) = (0, 0);
    for (place, range) in index.bodies() {
        assert!(place < MAX_PACK);
        assert_eq!(range.start, at);
        (at, bodies) = (range.end, bodies + 1);
    }
    assert_eq!(at, len);
    assert!((1..=MAX_PACK).contains(&bodies));
    assert_eq!(PackIndex::parse(&index.header(), len), Some(index));
}
