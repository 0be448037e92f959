//! Every target on its corpus, and on what a seeded mutation makes of it: what `cargo test` runs of the
//! fuzzing. `cargo xtask fuzz` goes on from here with libFuzzer.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own corpus is to fail")]

use std::path::{Path, PathBuf};

use stepwell_fuzz::mutate::mutated;
use stepwell_fuzz::{TARGETS, Target};
use stepwell_shared::rng::SplitMix64;

/// Mutated inputs per target; some seconds of all of them in a debug build.
const MUTATIONS: usize = 4_000;

/// The seed of all mutations. A failing input is shown, so that it can be put into the corpus.
const SEED: u64 = 20_260_801;

/// All corpora together; they are read in every test run, and by everybody who clones this.
const MOST_CORPUS_BYTES: u64 = 1 << 20;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The corpus of a target, in the order of the files' names.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder("corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// The words of the dictionary, which libFuzzer reads, too.
fn words() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder("dictionaries/wire.dict")).unwrap();
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(|word| word.replace("\\\"", "\"").into_bytes()).collect()
}

fn holds(target: &Target, what: &str, data: &[u8]) {
    let check = target.check;
    let data = data.to_vec();
    let shown = data.clone();
    let result = std::panic::catch_unwind(move || check(&data));
    assert!(result.is_ok(), "target {}, {what}: {}", target.name, shown.escape_ascii());
}

fn replay_and_mutate(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(target);
    assert!(corpus.len() > 3, "target {name} has a corpus");
    for (path, data) in &corpus {
        holds(target, &path.display().to_string(), data);
    }
    let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|(_, data)| data).collect();
    let (words, mut random) = (words(), SplitMix64::new(SEED));
    assert!(words.len() > 50, "the dictionary has words");
    for number in 0..MUTATIONS {
        holds(target, &format!("mutation {number}"), &mutated(&corpus, &words, &mut random));
    }
}

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            replay_and_mutate(stringify!($name));
        })+

        const TESTED: &[&str] = &[$(stringify!($name)),+];
    };
}

targets!(body, duration, event, history, id, pack, records, replay, retry, run, subject);

#[test]
fn every_target_is_tested_and_has_a_binary() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    for name in names {
        assert!(folder("fuzz_targets").join(format!("{name}.rs")).is_file(), "{name}");
    }
}

#[test]
fn corpora_stay_small() {
    let sizes = TARGETS.iter().flat_map(corpus).map(|(_, data)| data.len() as u64);
    let size: u64 = sizes.sum();
    assert!(size < MOST_CORPUS_BYTES, "the corpora have {size} bytes");
}
