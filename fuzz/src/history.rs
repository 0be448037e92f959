//! Stored histories: chains of chunks, whole records, and anything else on the subject. Lines of the input
//! are messages; one that begins with `#` says its header before the first blank.

use stepwell_shared::encoding::{Assembler, ChunkPlace, chunk_ranges};
use stepwell_shared::limits::MAX_CHUNKS;
use stepwell_shared::stored::HistoryReader;

pub(crate) fn check(data: &[u8]) {
    let mut reader = HistoryReader::default();
    let (mut taken, mut sequence) = (0, 0);
    for line in data.split(|byte| *byte == b'\n') {
        sequence += 1;
        let (chunk, body) = match line.strip_prefix(b"#") {
            None => (None, line),
            Some(rest) => {
                let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
                (std::str::from_utf8(&rest[..end]).ok(), rest.get(end + 1..).unwrap_or_default())
            }
        };
        let result = reader.take_in(sequence, chunk, body);
        assert_eq!(reader.last_sequence(), sequence);
        match result {
            Ok(()) => taken += 1,
            Err(unreadable) => {
                assert_eq!(unreadable.sequence, sequence);
                break;
            }
        }
    }
    let history = reader.into_history();
    assert!(history.records.len() <= taken);
    let mut before = 0;
    for stored in &history.records {
        assert!(before < stored.first_sequence && stored.first_sequence <= stored.last_sequence);
        before = stored.last_sequence;
    }
    cut_and_put_together(data);
}

/// What is cut into chunks is the same when it is put together again, whatever came before.
fn cut_and_put_together(data: &[u8]) {
    let Some((limit, body)) = data.split_first() else { return };
    let ranges = chunk_ranges(body.len(), usize::from(*limit));
    let count = ranges.len();
    if count > MAX_CHUNKS {
        return;
    }
    let mut chain = Assembler::default();
    chain.push(Some(ChunkPlace { index: 1, count: 2 }), b"left behind by a writer that died");
    for (range, index) in ranges.into_iter().zip(1..) {
        let place = ChunkPlace::parse(&ChunkPlace { index, count }.header());
        let whole = chain.push(place, &body[range]);
        assert_eq!(whole.is_some(), index == count);
        if let Some(whole) = whole {
            assert_eq!(whole, body);
        }
    }
}
