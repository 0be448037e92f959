//! Bodies larger than one message.

use proptest::prelude::*;
use stepwell_shared::encoding::{Assembler, ChunkPlace, chunk_ranges};
use stepwell_shared::limits::MAX_CHUNKS;

fn chain(body: &[u8], limit: usize) -> Vec<(ChunkPlace, Vec<u8>)> {
    let ranges = chunk_ranges(body.len(), limit);
    let count = ranges.len();
    let places = (1..=count).map(|index| ChunkPlace { index, count });
    places.zip(ranges).map(|(place, range)| (place, body[range].to_vec())).collect()
}

#[test]
fn a_body_that_fits_is_one_chunk() {
    assert_eq!(chunk_ranges(0, 10), vec![0..0]);
    assert_eq!(chunk_ranges(10, 10), vec![0..10]);
    assert_eq!(chunk_ranges(11, 10), vec![0..10, 10..11]);
    assert_eq!(chunk_ranges(2, 0), vec![0..1, 1..2]);
}

#[test]
fn places_that_make_no_sense_are_refused() {
    assert_eq!(ChunkPlace::parse("2/3"), Some(ChunkPlace { index: 2, count: 3 }));
    let beyond = format!("1/{}", MAX_CHUNKS + 1);
    for bad in ["", "1", "/", "0/1", "2/1", "1/0", "-1/2", "1/2/3", "a/b", beyond.as_str()] {
        assert_eq!(ChunkPlace::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn chains_that_are_cut_short_are_dropped() {
    let mut assembler = Assembler::default();
    let (cut, whole) = (chain(b"never finished", 4), chain(b"finished", 4));
    assert_eq!(assembler.push(Some(cut[0].0), &cut[0].1), None);
    assert_eq!(assembler.push(Some(cut[1].0), &cut[1].1), None);
    assert_eq!(assembler.push(Some(whole[0].0), &whole[0].1), None);
    assert_eq!(assembler.push(Some(whole[1].0), &whole[1].1), Some(b"finished".to_vec()));
    // Its rest, should it come all the same, completes nothing.
    assert_eq!(assembler.push(Some(cut[2].0), &cut[2].1), None);
    assert_eq!(assembler.push(Some(cut[3].0), &cut[3].1), None);
    assert_eq!(assembler.push(None, b"single"), Some(b"single".to_vec()));
}

proptest! {
    #[test]
    fn ranges_cover_the_body_in_order(len in 0usize..5_000, limit in 1usize..700) {
        let ranges = chunk_ranges(len, limit);
        let joined: Vec<usize> = ranges.iter().cloned().flatten().collect();
        prop_assert_eq!(joined, (0..len).collect::<Vec<_>>());
        prop_assert!(ranges.iter().all(|range| range.len() <= limit));
    }

    #[test]
    fn places_read_back(index in 1usize..=MAX_CHUNKS, more in 0usize..MAX_CHUNKS) {
        let place = ChunkPlace { index, count: (index + more).min(MAX_CHUNKS) };
        prop_assert_eq!(ChunkPlace::parse(&place.header()), Some(place));
    }

    /// Bodies of any sizes, some of whose chains are cut short: those that are whole come out, in order.
    #[test]
    fn whole_bodies_come_out(
        bodies in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), 0usize..3), 0..10),
        limit in 1usize..20,
    ) {
        let mut assembler = Assembler::default();
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        for (body, left_out) in bodies {
            let chain = chain(&body, limit);
            let kept = if chain.len() == 1 { 1 } else { chain.len() - left_out.min(chain.len() - 1) };
            if kept == chain.len() {
                expected.push(body);
            }
            for (place, bytes) in chain.into_iter().take(kept) {
                let place = (place.count > 1).then_some(place);
                out.extend(assembler.push(place, &bytes));
            }
        }
        prop_assert_eq!(out, expected);
    }

    /// Any headers with any bytes: a body or nothing, never a panic, never more than was pushed.
    #[test]
    fn arbitrary_chunks_never_panic(pushes in proptest::collection::vec((0usize..5, 0usize..5), 0..50)) {
        let mut assembler = Assembler::default();
        let mut pushed = 0;
        for (index, count) in pushes {
            pushed += 1;
            if let Some(body) = assembler.push(ChunkPlace::parse(&format!("{index}/{count}")), b"x") {
                prop_assert!(body.len() <= pushed);
            }
        }
    }
}
