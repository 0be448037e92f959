//! `fuzz`: the targets of `fuzz/` with libFuzzer, on the stable toolchain: the compiler's coverage pass needs
//! no other, only sanitizers do, and there is no unsafe code here for them to look at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::{below_root, cargo, output, root, run};

/// What libFuzzer needs to see where an input leads, and checks that release builds leave out.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing -Cdebug-assertions -Coverflow-checks";

/// Longest input that is tried, in bytes; what is found in larger ones is found in smaller ones, too.
const MOST_BYTES: u32 = 4_096;

/// Memory that one target may take before that counts as a finding, in MiB.
const MOST_MEGABYTES: u32 = 1_024;

/// Longest time that one input may take before that counts as a finding, in seconds.
const MOST_SECONDS: u32 = 10;

/// Most inputs per target that are kept of those that were found: every test run reads them.
const MOST_FOUND: usize = 150;

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u32,
    /// Put the smallest inputs that lead somewhere new into `fuzz/corpus/`, in the place of those found before.
    #[arg(long)]
    minimise: bool,
    /// Only these; all when none is named.
    targets: Vec<String>,
}

/// Builds the targets and runs them one after the other.
pub(crate) fn fuzz(options: &Options) -> Result<()> {
    let known = known()?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        bail!("there is no fuzz target called {unknown}; there are {}", known.join(", "));
    }
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };
    let home = root().join("target/fuzz");
    let binaries = build(&home, chosen)?;
    let mut found = BTreeMap::new();
    for (name, binary) in &binaries {
        let place = Place::new(&home, name)?;
        if let Err(error) = run(Command::new(binary)
            .args([format!("-max_total_time={}", options.seconds), "-print_final_stats=0".into()])
            .args(limits(&place))
            .args([&place.found, &place.corpus]))
        {
            found.insert(
                name,
                format!("{error:#}; its input lies in {}", below_root(&place.artifacts).display()),
            );
        } else if options.minimise {
            minimise(binary, &place)?;
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = found.iter().map(|(name, error)| format!("{name}: {error}")).collect();
    bail!(
        "{}. Run the target's binary in target/fuzz with the input as its argument to see it again; with the fix, \
         put the input into fuzz/corpus/",
        found.join("; ")
    )
}

/// Folders of one target.
struct Place {
    /// What is committed.
    corpus: PathBuf,
    /// What was found on this machine.
    found: PathBuf,
    /// Inputs that broke something.
    artifacts: PathBuf,
}

impl Place {
    fn new(home: &Path, name: &str) -> Result<Self> {
        let place = Self {
            corpus: root().join("fuzz/corpus").join(name),
            found: home.join("corpus").join(name),
            artifacts: root().join("fuzz/artifacts").join(name),
        };
        for folder in [&place.corpus, &place.found, &place.artifacts] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(place)
    }
}

fn known() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn build(home: &Path, targets: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| anyhow!("rustc does not say which machine it is on: {version}"))?;
    let mut command = cargo();
    command.args(["build", "--release", "--package", "stepwell-fuzz", "--features", "libfuzzer"]);
    command.args(targets.iter().flat_map(|target| ["--bin", target]));
    // With a target named, build scripts and macros are left as they are.
    command.args(["--target", host, "--target-dir"]).arg(home);
    run(command
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only"))
    .context("the fuzz targets could not be built; libFuzzer needs a C++ compiler")?;
    let folder = home.join(host).join("release");
    Ok(targets.iter().map(|target| (target.clone(), folder.join(target))).collect())
}

fn limits(place: &Place) -> Vec<String> {
    vec![
        format!("-max_len={MOST_BYTES}"),
        format!("-rss_limit_mb={MOST_MEGABYTES}"),
        format!("-timeout={MOST_SECONDS}"),
        format!("-dict={}", root().join("fuzz/dictionaries/wire.dict").display()),
        format!("-artifact_prefix={}/", place.artifacts.display()),
    ]
}

/// Puts the smallest of the fewest inputs that lead everywhere into the corpus. What was written by hand has a
/// name of its own there and stays; libFuzzer names what it finds by a digest.
fn minimise(binary: &Path, place: &Place) -> Result<()> {
    let fewest = place.found.with_extension("fewest");
    fs::create_dir_all(&fewest).with_context(|| format!("cannot create {}", fewest.display()))?;
    run(Command::new(binary).arg("-merge=1").args(limits(place)).args([
        &fewest,
        &place.corpus,
        &place.found,
    ]))?;
    replace(&fewest, &place.corpus)
        .with_context(|| format!("cannot fill {}", below_root(&place.corpus).display()))
}

fn replace(fewest: &Path, corpus: &Path) -> std::io::Result<()> {
    for before in found_in(corpus)? {
        fs::remove_file(before)?;
    }
    let mut found = Vec::new();
    for path in found_in(fewest)? {
        found.push((fs::metadata(&path)?.len(), path));
    }
    found.sort();
    for (_, path) in found.iter().take(MOST_FOUND) {
        fs::copy(path, corpus.join(path.file_name().unwrap_or_default()))?;
    }
    fs::remove_dir_all(fewest)
}

/// The files in a folder that libFuzzer has named.
fn found_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            paths.push(path);
        }
    }
    Ok(paths)
}
