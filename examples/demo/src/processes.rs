//! The processes of the demonstration: started, killed and started again by name, each with a log file.
//! Ends every process that it started, and only those, also when the demonstration fails half-way.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// How long a process may take to end by itself when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two looks at a process that is ending.
const POLL: Duration = Duration::from_millis(20);

/// What to run under one name.
#[derive(Debug, Clone)]
struct Program {
    name: &'static str,
    binary: PathBuf,
    arguments: Vec<String>,
}

/// All processes but the server.
pub(crate) struct Processes {
    programs: Vec<Program>,
    running: Vec<(&'static str, Child)>,
    killed: BTreeSet<u32>,
    logs: PathBuf,
    url: String,
}

impl Processes {
    /// None yet; logs go to `logs`, and every process is told the server's `url`.
    pub(crate) fn new(logs: &Path, url: &str) -> Self {
        Self {
            programs: Vec::new(),
            running: Vec::new(),
            killed: BTreeSet::new(),
            logs: logs.to_owned(),
            url: url.to_owned(),
        }
    }

    /// Starts `binary` and calls it `name`.
    pub(crate) fn start(&mut self, name: &'static str, binary: &Path, arguments: Vec<String>) -> Result<u32> {
        self.programs.push(Program { name, binary: binary.to_owned(), arguments });
        self.start_again(name)
    }

    /// Starts what was called `name` once more.
    pub(crate) fn start_again(&mut self, name: &str) -> Result<u32> {
        let program = self.programs.iter().find(|program| program.name == name);
        let program = program.ok_or_else(|| anyhow!("there is no program called {name}"))?;
        let path = self.logs.join(format!("{name}.log"));
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        let mut command = Command::new(&program.binary);
        command
            .args(&program.arguments)
            .env("NATS_URL", &self.url)
            .env_remove("STEPWELL_NAMESPACE")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share a log file")?)
            .stderr(log);
        // A group of its own: ctrl-c in the terminal reaches the demonstration alone, which ends the rest.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().with_context(|| format!("cannot run {}", program.binary.display()))?;
        let pid = child.id();
        self.running.push((program.name, child));
        Ok(pid)
    }

    /// The process id of what is called `name`, while it runs.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        self.running.iter().find(|(running, _)| *running == name).map(|(_, child)| child.id())
    }

    /// Ends `name` as a crash would (SIGKILL), and remembers its process id.
    pub(crate) fn kill(&mut self, name: &str) -> Result<u32> {
        let at = self.running.iter().position(|(running, _)| *running == name);
        let (_, mut child) = self.running.remove(at.ok_or_else(|| anyhow!("{name} does not run"))?);
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended by itself with {status}; see {}", self.log(name).display());
        }
        child.kill().with_context(|| format!("cannot kill {name}"))?;
        child.wait()?;
        self.killed.insert(child.id());
        Ok(child.id())
    }

    /// Stops `name` where it is (SIGSTOP), until it goes on or is killed.
    pub(crate) fn freeze(&self, name: &str) {
        self.signal(name, "-STOP");
    }

    /// Lets `name` go on (SIGCONT).
    pub(crate) fn go_on(&self, name: &str) {
        self.signal(name, "-CONT");
    }

    fn signal(&self, name: &str, signal: &str) {
        if let Some((_, child)) = self.running.iter().find(|(running, _)| *running == name) {
            send(child, signal);
        }
    }

    /// The process ids of all that were killed.
    pub(crate) fn killed(&self) -> &BTreeSet<u32> {
        &self.killed
    }

    /// Fails when one has ended that nobody ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                let log = self.logs.join(format!("{name}.log"));
                bail!("{name} ended by itself with {status}; see {}", log.display());
            }
        }
        Ok(())
    }

    /// Asks all to end (SIGTERM), the workers first, and waits; whoever takes too long is killed.
    pub(crate) fn stop(&mut self) {
        while let Some((_, mut child)) = self.running.pop() {
            send(&child, "-TERM"); // whoever cannot be asked is killed after the timeout
            let deadline = Instant::now() + STOP_TIMEOUT;
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
            // Fails only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The standard library can only kill; `kill` is part of every system that has signals.
fn send(child: &Child, signal: &str) {
    let mut command = Command::new("kill");
    command.arg(signal).arg(child.id().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.status();
}
