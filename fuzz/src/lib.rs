//! What must hold of everything that reads bytes, whatever the bytes are. Each target is a function of
//! them that panics when something does not hold; libFuzzer and `tests/corpora.rs` call it.
//!
//! Nothing here talks to a server. A panic of the code under test is a finding, also where that code
//! would catch it: libFuzzer ends the process at once.

mod body;
mod dice;
mod duration;
mod event;
mod generate;
mod history;
mod id;
pub mod mutate;
mod pack;
mod records;
mod replay;
mod retry;
mod run;
mod subject;

// The attributes' reader of durations lives in a macro crate, of which nothing but macros can be used.
#[path = "../../worker/macros/src/duration.rs"]
mod attribute_duration;

/// Something that reads bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the binary in `fuzz_targets/` and of the folder in `corpus/`.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    Target { name: "body", check: body::check },
    Target { name: "duration", check: duration::check },
    Target { name: "event", check: event::check },
    Target { name: "history", check: history::check },
    Target { name: "id", check: id::check },
    Target { name: "pack", check: pack::check },
    Target { name: "records", check: records::check },
    Target { name: "replay", check: replay::check },
    Target { name: "retry", check: retry::check },
    Target { name: "run", check: run::check },
    Target { name: "subject", check: subject::check },
];

/// Runs one target.
///
/// # Panics
/// When there is no such target, or when something does not hold.
pub fn check(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target called {name}")).check)(data);
}
