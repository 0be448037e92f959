//! The processes that work together in one measurement: started as this program in other roles, stopped
//! by closing their standard input, and killed when that does not help.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use stepwell_shared::ids::Namespace;

use crate::arguments::RoleName;

/// What a process prints when it is ready.
pub(crate) const READY: &str = "ready";

/// How long a process may take to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Processes in one namespace.
pub(crate) struct Crew {
    members: Vec<Member>,
}

struct Member {
    place: &'static str,
    child: Child,
}

impl Crew {
    /// Starts one process after the other; each is ready before the next one starts.
    pub(crate) fn start(
        nats_url: &str,
        namespace: &Namespace,
        roles: &[(&'static str, RoleName)],
    ) -> Result<Self> {
        let mut crew = Self { members: Vec::new() };
        for (place, role) in roles {
            let child = spawn(nats_url, namespace, *role).with_context(|| format!("starting the {place}"))?;
            crew.members.push(Member { place, child });
            crew.wait_for_last().with_context(|| format!("waiting for the {place}"))?;
        }
        Ok(crew)
    }

    /// Places and process ids.
    pub(crate) fn pids(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.members.iter().map(|member| (member.place, member.child.id()))
    }

    /// The process id of the one in this place.
    pub(crate) fn pid(&self, place: &str) -> Option<u32> {
        self.members.iter().find(|member| member.place == place).map(|member| member.child.id())
    }

    fn wait_for_last(&mut self) -> Result<()> {
        let Some(member) = self.members.last_mut() else { return Ok(()) };
        let Some(output) = member.child.stdout.take() else { return Ok(()) };
        for line in BufReader::new(output).lines() {
            if line? == READY {
                return Ok(());
            }
        }
        bail!("it ended before it was ready")
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            drop(member.child.stdin.take());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for member in &mut self.members {
            while matches!(member.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

fn spawn(nats_url: &str, namespace: &Namespace, role: RoleName) -> Result<Child> {
    let name = role.to_possible_value().context("the role has no name")?;
    let child = Command::new(std::env::current_exe()?)
        .args(["role", name.get_name(), "--nats-url", nats_url, "--namespace", namespace.as_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}
