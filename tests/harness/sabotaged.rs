//! The program with the switches of the feature `sabotage` in it, which no other build has.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Builds the program of the processes with protections that can be switched off and places to die at.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What `cargo test` says of this package would make build scripts run again.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_") && !is_setting(name)) {
        cargo.env_remove(name);
    }
    // Of the whole workspace: for fewer packages, what they depend on would be built once more, with fewer features.
    cargo.args(["build", "--workspace", "--features", "stepwell-tests/sabotage"]);
    cargo.args(["--bin", "stepwell-sabotaged-process"]);
    cargo.args(["--message-format", "json"]);
    let output = cargo.stderr(Stdio::inherit()).output().expect("cargo can be run");
    assert!(output.status.success(), "the sabotaged program cannot be built");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = messages.filter_map(|message| {
        let ours = message["target"]["name"] == "stepwell-sabotaged-process";
        message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
    });
    programs.next().expect("cargo says where the program is")
}

/// Whether it says how to build, and so what can be taken over from the build before.
fn is_setting(name: &str) -> bool {
    ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_INCREMENTAL"].contains(&name)
        || name.starts_with("CARGO_PROFILE_")
}
