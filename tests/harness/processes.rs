//! Child processes of a test: started, killed, asked to end. A process that is dropped is killed; one whose
//! test was killed ends by itself, because its standard input closes.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use stepwell_connection::ConnectionOptions;

use crate::patience::eventually;

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `binary` with its output in a log file of its own in `folder`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, binary: &Path, arguments: &[String], url: &str, folder: &Path) -> Self {
        Self::start_with(name, binary, arguments, &ConnectionOptions::to_url(url), folder)
    }

    /// The same, with more to be said about the way to NATS than a URL: a login, a prefix of inboxes.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(
        name: &str,
        binary: &Path,
        arguments: &[String],
        connection: &ConnectionOptions,
        folder: &Path,
    ) -> Self {
        Self::start_in(name, binary, arguments, connection, folder, &[])
    }

    /// The same with some more environment variables.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_in(
        name: &str,
        binary: &Path,
        arguments: &[String],
        connection: &ConnectionOptions,
        folder: &Path,
        more: &[(String, String)],
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{name}-{count}.log"));
        let log = OpenOptions::new().create(true).append(true).open(&path).expect("a log file can be made");
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env("NATS_URL", &connection.nats_url)
            .env_remove("STEPWELL_NAMESPACE")
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log file can be shared"))
            .stderr(log);
        let ConnectionOptions {
            nats_url: _,
            namespace: _,
            nats_creds,
            nats_user,
            nats_password,
            nats_token,
            nats_nkey,
            nats_ca,
            nats_cert,
            nats_key,
            nats_tls_first,
            nats_inbox_prefix,
        } = connection;
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let variables = [
            ("NATS_CREDS", file(nats_creds)),
            ("NATS_USER", nats_user.clone()),
            ("NATS_PASSWORD", nats_password.clone()),
            ("NATS_TOKEN", nats_token.clone()),
            ("NATS_NKEY", file(nats_nkey)),
            ("NATS_CA", file(nats_ca)),
            ("NATS_CERT", file(nats_cert)),
            ("NATS_KEY", file(nats_key)),
            ("NATS_TLS_FIRST", nats_tls_first.then(|| "true".to_owned())),
            ("NATS_INBOX_PREFIX", nats_inbox_prefix.clone()),
        ];
        for (variable, value) in variables {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot run {}: {error}", binary.display()));
        Self { name: name.to_owned(), child, log: path }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it as a crash would (SIGKILL).
    ///
    /// # Panics
    /// When it had ended by itself.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "{} had ended by itself: {ended:?}\n{}", self.name, self.log());
        self.kill_now();
    }

    /// The same, whether it still runs or not.
    ///
    /// # Panics
    /// When the system says no.
    pub fn kill_now(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// The same; says how it ended.
    ///
    /// # Panics
    /// When the system says no.
    pub fn kill_and_reap(&mut self) -> ExitStatus {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for")
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn ask_to_end(&self) {
        // The standard library can only kill.
        let status = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "{} could not be asked to end", self.name);
    }

    /// Stops it where it is (SIGSTOP), until [`go_on`](Self::go_on).
    ///
    /// # Panics
    /// When it cannot be stopped.
    pub fn freeze(&self) {
        let status = Command::new("kill").arg("-STOP").arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "{} could not be stopped", self.name);
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Panics
    /// When it cannot be.
    pub fn go_on(&self) {
        let status = Command::new("kill").arg("-CONT").arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "{} could not go on", self.name);
    }

    /// Whether it runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it has ended, if it has.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// The most memory that it has used so far, in KiB; `None` where the system does not say.
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        peak.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        eventually(&format!("the end of {}", self.name), || {
            std::future::ready(self.child.try_wait().expect("a child can be waited for"))
        })
        .await
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// When it ends with an error.
    pub async fn stop(self) {
        self.ask_to_end();
        let (name, log) = (self.name.clone(), self.log.clone());
        let status = self.ended().await;
        let log = std::fs::read_to_string(log).unwrap_or_default();
        assert!(status.success(), "{name} ended with {status}\n{log}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
