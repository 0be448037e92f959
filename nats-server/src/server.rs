//! One `nats-server` child process: its configuration, its start, its end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::ready::{self, Answer};
use crate::watchdog::Watchdog;

/// Longest wait for readiness. Recovering a large store takes the server a while.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest wait for the end after a polite request; then the process is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two looks at a process that is starting or stopping.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How often another free port is tried when somebody else took the one that was free a moment ago.
const PORT_ATTEMPTS: u32 = 5;

/// How much of the end of the log is put into an error.
const LOG_TAIL_LINES: usize = 8;

/// Why a server could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store, the log or the configuration could not be prepared.
    #[error("cannot prepare nats-server: {what} {path}: {source}", path = .path.display())]
    Prepare {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no free port.
    #[error("cannot find a free port: {0}")]
    Port(io::Error),
    /// The binary could not be run.
    #[error("cannot run {binary}: {source}", binary = .binary.display())]
    Run {
        /// The binary.
        binary: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("nats-server ended with {status} before it was ready; the end of {log}:\n{tail}", log = .log.display())]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// It runs but JetStream did not become ready.
    #[error("nats-server was not ready within {seconds} s; the end of {log}:\n{tail}", seconds = START_TIMEOUT.as_secs(), log = .log.display())]
    NotReady {
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The nodes of a cluster run but do not agree on a leader.
    #[error("{of} had no leader within {seconds} s; the end of {log}:\n{tail}", seconds = START_TIMEOUT.as_secs(), log = .log.display())]
    NoLeader {
        /// What has none: JetStream as a whole, a stream, a consumer.
        of: String,
        /// The log file of the first node.
        log: PathBuf,
        /// The last lines of that log.
        tail: String,
    },
}

/// What kind of server is wanted. Made by [`NatsServer::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    binary: PathBuf,
    store_dir: Option<PathBuf>,
    host: IpAddr,
    port: Option<u16>,
    config: String,
    log: Option<PathBuf>,
}

/// A running `nats-server` with JetStream. It is killed when this is dropped.
#[derive(Debug)]
pub struct NatsServer {
    binary: PathBuf,
    store_dir: PathBuf,
    /// The store is a throw-away one and goes with the server.
    temporary: bool,
    host: IpAddr,
    port: u16,
    name: String,
    config: String,
    log: PathBuf,
    child: Option<Child>,
    watchdog: Option<Watchdog>,
}

impl NatsServer {
    /// Begins to describe a server that runs `binary`.
    #[must_use]
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder {
            binary: binary.into(),
            store_dir: None,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: None,
            config: String::new(),
            log: None,
        }
    }

    /// Where clients of this machine connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.local_address())
    }

    /// The port it listens on; the same after [`NatsServer::restart`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, while the process runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it keeps its streams.
    #[must_use]
    pub fn store_dir(&self) -> &Path {
        &self.store_dir
    }

    /// Where it writes its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log, for an error message.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail_of(&self.log)
    }

    /// Whether the process still runs.
    pub fn running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        }
    }

    /// Ends the process at once, as a crash would (SIGKILL). The store stays.
    pub fn kill(&mut self) {
        self.watchdog = None;
        if let Some(mut child) = self.child.take() {
            // Both fail only when the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGKILL without waiting for the end; [`kill`](Self::kill) waits.
    pub(crate) fn kill_at_once(&mut self) {
        self.watchdog = None;
        if let Some(child) = &mut self.child {
            // It fails only when the process has ended already.
            let _ = child.kill();
        }
    }

    /// The name under which the server is known in a cluster; the same after [`NatsServer::restart`].
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Stops the process where it is (SIGSTOP), until [`resume`](Self::resume): its port takes connections
    /// and nobody answers.
    ///
    /// # Errors
    /// When the process does not run, or the system says no.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    /// When the process does not run, or the system says no.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let Some(pid) = self.pid() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the server does not run"));
        };
        // The standard library can only kill.
        let status = Command::new("kill").arg(signal).arg(pid.to_string()).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("kill {signal} ended with {status}")))
        }
    }

    /// Asks the process to end (SIGTERM) and waits until it has. The store stays.
    pub fn stop(&mut self) {
        let Some(pid) = self.pid() else { return };
        let asked = Command::new(&self.binary)
            .arg("--signal")
            .arg(format!("term={pid}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if asked.is_ok_and(|status| status.success()) {
            let deadline = Instant::now() + STOP_TIMEOUT;
            while self.running() && Instant::now() < deadline {
                thread::sleep(POLL_INTERVAL);
            }
        }
        self.kill();
    }

    /// Starts the server again on the same port and store; one that still runs is killed first.
    ///
    /// # Errors
    /// [`StartError`] when it does not come up again.
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.kill();
        self.launch()
    }

    /// Exchanges the text that [`Builder::config`] took, and lets the running server read its configuration again
    /// (SIGHUP). When this returns it may not have done so yet; its log says when it has.
    ///
    /// # Errors
    /// When the file cannot be written, the process does not run, or the system says no.
    pub fn reload(&mut self, config: impl Into<String>) -> io::Result<()> {
        self.config = config.into();
        fs::write(self.config_file(), self.config_text())?;
        self.signal("-HUP")
    }

    fn config_file(&self) -> PathBuf {
        self.store_dir.join("nats-server.conf")
    }

    fn local_address(&self) -> SocketAddr {
        // A server that listens everywhere is reached here through the loopback address.
        let ip = if self.host.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.host };
        SocketAddr::new(ip, self.port)
    }

    fn launch(&mut self) -> Result<(), StartError> {
        let config = self.config_file();
        fs::write(&config, self.config_text()).map_err(prepare("write", &config))?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(prepare("open", &self.log))?;
        let child = spawn(&self.binary, &config, log);
        let child = child.map_err(|source| StartError::Run { binary: self.binary.clone(), source })?;
        self.watchdog = Watchdog::over(child.id());
        self.child = Some(child);
        self.wait_until_ready().inspect_err(|_| self.kill())
    }

    fn config_text(&self) -> String {
        format!(
            "host: {:?}\nport: {}\nserver_name: {:?}\njetstream {{ store_dir: {:?} }}\n{}\n",
            self.host.to_string(),
            self.port,
            self.name,
            self.store_dir.to_string_lossy(),
            self.config
        )
    }

    fn wait_until_ready(&mut self) -> Result<(), StartError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                let (log, tail) = (self.log.clone(), tail_of(&self.log));
                return Err(StartError::Ended { status, log, tail });
            }
            match ready::ask(self.local_address(), &self.name) {
                Answer::Ready => return Ok(()),
                Answer::WithoutJetStream | Answer::NotOurs => {}
            }
            if Instant::now() >= deadline {
                return Err(StartError::NotReady { log: self.log.clone(), tail: tail_of(&self.log) });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        if self.temporary {
            // Nobody is left to tell when it fails; the folder is in the system's temporary place.
            let _ = fs::remove_dir_all(&self.store_dir);
        }
    }
}

impl Builder {
    /// Keeps streams, log and configuration there. Without it: a temporary folder, removed on drop.
    #[must_use]
    pub fn store_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store_dir = Some(folder.into());
        self
    }

    /// The address to listen on; loopback when not given.
    #[must_use]
    pub fn host(mut self, host: IpAddr) -> Self {
        self.host = host;
        self
    }

    /// The port to listen on; a free one when `None` or not given.
    #[must_use]
    pub fn port(mut self, port: impl Into<Option<u16>>) -> Self {
        self.port = port.into();
        self
    }

    /// More text for the server's configuration file.
    #[must_use]
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    /// Where the server writes its log; `nats-server.log` in the store folder when not given.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// Starts the server and waits until JetStream is ready.
    ///
    /// # Errors
    /// [`StartError`] with the end of the server's log, if it wrote one.
    pub fn start(self) -> Result<NatsServer, StartError> {
        let name = unique_name();
        let temporary = self.store_dir.is_none();
        let store_dir = self.store_dir.unwrap_or_else(|| std::env::temp_dir().join(&name));
        fs::create_dir_all(&store_dir).map_err(prepare("create", &store_dir))?;
        let log = self.log.unwrap_or_else(|| store_dir.join("nats-server.log"));
        let mut server = NatsServer {
            binary: self.binary,
            store_dir,
            temporary,
            host: self.host,
            port: 0,
            name,
            config: self.config,
            log,
            child: None,
            watchdog: None,
        };
        if let Some(port) = self.port {
            server.port = port;
            return server.launch().map(|()| server);
        }
        let mut attempt = 1;
        loop {
            server.port = free_port(server.host).map_err(StartError::Port)?;
            match server.launch() {
                Ok(()) => return Ok(server),
                Err(StartError::Ended { tail, .. })
                    if tail.contains("address already in use") && attempt < PORT_ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn spawn(binary: &Path, config: &Path, log: File) -> io::Result<Child> {
    let mut command = Command::new(binary);
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A group of its own: ctrl-c in the terminal goes to the parent, which ends the server last.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

pub(crate) fn free_port(host: IpAddr) -> io::Result<u16> {
    Ok(TcpListener::bind(SocketAddr::new(host, 0))?.local_addr()?.port())
}

pub(crate) fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("stepwell-nats-{}-{}-{count}", std::process::id(), since_1970.as_millis())
}

fn prepare(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Prepare { what, path, source }
}

fn tail_of(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
