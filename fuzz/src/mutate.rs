//! Changes inputs at random from a seed, for runs without libFuzzer: no coverage guides it, so it stays
//! near what is there.

use stepwell_shared::rng::SplitMix64;

/// No input grows beyond this; what is found in larger ones is found in smaller ones, too.
const MOST_BYTES: usize = 4_096;

/// Bytes that mean something in one of the formats.
const MEANINGFUL: &[u8] = b"{}[]\":,.=-0129eE \n\\\x00\x7f\x80\xff";

/// An input made of those in `corpus` and the words of a dictionary.
pub fn mutated(corpus: &[Vec<u8>], words: &[Vec<u8>], random: &mut SplitMix64) -> Vec<u8> {
    let mut data = pick(corpus, random).cloned().unwrap_or_default();
    for _ in 0..=below(4, random) {
        change(&mut data, corpus, words, random);
    }
    data.truncate(MOST_BYTES);
    data
}

fn change(data: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[Vec<u8>], random: &mut SplitMix64) {
    let at = below(data.len() + 1, random);
    let end = at + below(data.len() - at + 1, random).min(64);
    match below(8, random) {
        0 if at < data.len() => data[at] ^= 1 << below(8, random),
        1 if at < data.len() => data[at] = low_byte(random),
        2 => data.insert(at, MEANINGFUL[below(MEANINGFUL.len(), random)]),
        3 => drop(data.drain(at..end)),
        4 => {
            let again = data[at..end].to_vec();
            data.splice(at..at, again);
        }
        5 => data.truncate(at),
        6 => {
            let word = pick(words, random).cloned().unwrap_or_default();
            data.splice(at..end, word);
        }
        7 => {
            let other = pick(corpus, random).cloned().unwrap_or_default();
            let from = below(other.len() + 1, random);
            data.truncate(at);
            data.extend_from_slice(&other[from..]);
        }
        _ => data.push(low_byte(random)),
    }
}

fn pick<'a>(from: &'a [Vec<u8>], random: &mut SplitMix64) -> Option<&'a Vec<u8>> {
    from.get(below(from.len(), random))
}

/// A number below `most`; 0 for 0.
fn below(most: usize, random: &mut SplitMix64) -> usize {
    usize::try_from(random.next_u64() % most.max(1) as u64).unwrap_or(0)
}

fn low_byte(random: &mut SplitMix64) -> u8 {
    random.next_u64().to_le_bytes()[0]
}
