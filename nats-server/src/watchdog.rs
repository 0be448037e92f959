//! Ends the server when this process ends without having done so, however it ends: a shell waits on a
//! pipe whose other end this process holds, and the system closes that with the process.
//!
//! Without it a killed `stepwell dev` or test would leave a server that nobody knows of, and the next
//! one would work on the same store beside it.

use std::process::{Child, Command, Stdio};

/// Watches over one server. Dropped, it watches no more.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Watches over the process `pid`. `None` where there is no shell: then nobody watches.
    pub(crate) fn over(pid: u32) -> Option<Self> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(r#"read -r _; kill "$0""#).arg(pid.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Like the server, it must outlive ctrl-c.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().ok().map(Self)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Before the pipe is closed: the server's number may belong to somebody else soon.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
