//! `verify`: what must hold before a change is taken.

use anyhow::{Context, Result, bail};

use crate::process::{cargo, output, root, run};
use crate::test;

/// The crates that decide without doing: no runtime, no clock, no network, no randomness.
const PURE: [(&str, &str); 2] =
    [("stepwell-orchestrator-core", "orchestrator/core"), ("stepwell-worker-replay", "worker/replay")];

/// Crates that a pure one may not depend on, directly or not.
const IMPURE: [&str; 10] = [
    "tokio",
    "tokio-util",
    "async-nats",
    "mio",
    "socket2",
    "rand",
    "getrandom",
    "uuid",
    "chrono",
    "stepwell-encryption",
];

/// What a pure crate's `clippy.toml` must forbid, since the standard library is always at hand.
const FORBIDDEN: [&str; 3] = ["std::time::SystemTime::now", "std::time::Instant::now", "std::thread::spawn"];

/// Runs all checks, then the tests.
pub(crate) fn verify() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    for (package, folder) in PURE {
        pure(package, folder)?;
    }
    run(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    // Doctests are part of `cargo test --workspace`.
    test::test(&[])
}

fn pure(package: &str, folder: &str) -> Result<()> {
    let tree = output(cargo().args(["tree", "--package", package, "--edges", "normal", "--prefix", "none"]))?;
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    let impure: Vec<&str> = names.filter(|name| IMPURE.contains(name)).collect();
    if !impure.is_empty() {
        bail!("{package} must stay pure, but depends on {}", impure.join(", "));
    }
    let path = root().join(folder).join("clippy.toml");
    let lints = std::fs::read_to_string(&path)
        .with_context(|| format!("{package} must stay pure, but {} cannot be read", path.display()))?;
    for call in FORBIDDEN {
        if !lints.contains(call) {
            bail!("{package} must stay pure, but {} does not forbid {call}", path.display());
        }
    }
    eprintln!("{package} is pure");
    Ok(())
}
