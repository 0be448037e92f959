//! Processes of the command under test.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use stepwell_connection::{Connection, ConnectionOptions};

/// Longest wait for anything; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until `look` finds something, and returns it. A look is a command that runs.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain for {what}");
    }
}

/// Waits until as many runs as that are listed. A list says what was decided so far, and a start is acknowledged before.
pub(crate) fn lists(url: &str, runs: u64) {
    eventually("all runs in the list", || {
        let list: Value = stepwell(url, &["list", "-o", "json"]).json();
        let total = list["total"].as_u64().unwrap();
        assert!(total <= runs, "{list}");
        (total == runs).then_some(())
    });
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its output, if it succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout.trim_end().to_owned()
    }

    /// Its output as JSON, whatever its code.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What it complained about, if it ended with `code`.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stderr
    }
}

/// A command of ours, with nothing in its environment that could mislead it.
pub(crate) fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
    for name in ["NATS_URL", "STEPWELL_NAMESPACE", "NATS_USER", "NATS_PASSWORD", "STEPWELL_LOG", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(["--nats-url", url]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub(crate) fn stepwell(url: &str, arguments: &[&str]) -> Ended {
    finish(command(url, arguments).spawn().unwrap())
}

/// Runs a command to its end, with something on its stdin.
pub(crate) fn stepwell_with_stdin(url: &str, arguments: &[&str], stdin: &str) -> Ended {
    let mut child = command(url, arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    finish(child)
}

/// Waits for the end of a command.
pub(crate) fn finish(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A process that is killed when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Asks it to end, as a service manager does.
    pub(crate) fn terminate(&self) {
        let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `stepwell dev`.
pub(crate) struct Dev {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Dev {
    /// Starts one and waits until it says that it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let always = ["dev", "--port", "0", "--listen", "127.0.0.1:0"];
        // Its log fills nobody's pipe.
        let mut command = command("nats://unused", &[&always, arguments].concat());
        let mut process = Process(command.stderr(Stdio::null()).spawn().unwrap());
        let lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let url = lines.filter_map(|line| Some(line.split_once("NATS ")?.1.trim().to_owned())).next();
        Self { process, url: url.expect("it says where NATS is") }
    }

    /// Runs a command against it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        stepwell(&self.url, arguments)
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> Connection {
        ConnectionOptions::to_url(&self.url).connect("test").await.unwrap()
    }
}

/// A file of its own with some text.
pub(crate) fn file(name: &str, text: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}
