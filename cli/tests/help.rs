//! What the command says of itself, held in `tests/golden`. Run with `STEPWELL_UPDATE_GOLDEN=1` to write
//! the files anew, and read the difference.

use std::path::PathBuf;
use std::process::{Command, Output};

const COMMANDS: [&str; 21] = [
    "",
    "dev",
    "orchestrator",
    "start",
    "signal",
    "query",
    "cancel",
    "terminate",
    "result",
    "describe",
    "history",
    "list",
    "rejected",
    "compensation",
    "workers",
    "keys",
    "doctor",
    "backup",
    "restore",
    "auth",
    "completions",
];

/// Runs the command without any of this environment, which shows in help texts.
fn stepwell(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stepwell")).args(arguments).env_clear().output().expect("it runs")
}

#[test]
fn short_help_is_as_agreed() {
    let update = std::env::var_os("STEPWELL_UPDATE_GOLDEN").is_some();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for command in COMMANDS {
        let mut arguments = vec![command, "-h"];
        arguments.retain(|argument| !argument.is_empty());
        let output = stepwell(&arguments);
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).expect("help is text");
        let name = if command.is_empty() { "stepwell" } else { command };
        let file = folder.join(format!("{name}.txt"));
        if update {
            std::fs::write(&file, &help).expect("the file can be written");
        }
        let agreed = std::fs::read_to_string(&file).expect("the file is there; see above");
        assert_eq!(help, agreed, "{}", file.display());
    }
}

#[test]
fn every_command_shows_an_example_and_the_long_help_has_all_options() {
    for command in &COMMANDS[1..] {
        let output = stepwell(&[command, "--help"]);
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).expect("help is text");
        assert!(help.contains(&format!("  stepwell {command}")), "{command}: {help}");
        assert!(help.contains("--nats-creds"), "{command}");
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = stepwell(&["completions", shell]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).expect("a script is text");
        assert!(script.contains("compensation") && script.contains("nats-url"), "{shell}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let cases: [&[&str]; 8] = [
        &[],
        &["no-such-command"],
        &["start", "order"],
        &["start", "order", "--id", "1", "--timeout", "1s"],
        &["start", "order", "--id", "1", "--run-timeout", "soon"],
        &["list", "--status", "asleep"],
        &["--namespace", "a.b", "list"],
        &["--nats-url", "http://x", "list"],
    ];
    for arguments in cases {
        let output = stepwell(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn without_a_server_every_command_says_so() {
    // Port 1 belongs to a service that nobody has run for decades.
    for command in [&["list"][..], &["doctor"], &["result", "x"], &["orchestrator"]] {
        let output = stepwell(&[&["--nats-url", "nats://127.0.0.1:1"], command].concat());
        let text = String::from_utf8(output.stderr).expect("errors are text");
        assert_eq!(output.status.code(), Some(8), "{command:?}: {text}");
        assert!(text.contains("no NATS server answers at nats://127.0.0.1:1"), "{text}");
    }
}
