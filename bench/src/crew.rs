//! The processes that work together in one measurement: started as this program in other roles, stopped
//! by closing their standard input, and killed when that does not help.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use crate::arguments::{RoleName, RoleOptions};

/// What a process prints when it is ready.
pub(crate) const READY: &str = "ready";

/// How long a process may take to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Processes in one namespace.
pub(crate) struct Crew {
    options: RoleOptions,
    members: Vec<Member>,
}

struct Member {
    place: &'static str,
    child: Child,
}

impl Crew {
    /// A crew without anybody in it; who joins is told these options.
    pub(crate) fn new(options: RoleOptions) -> Self {
        Self { options, members: Vec::new() }
    }

    /// How its processes are.
    pub(crate) fn options(&self) -> &RoleOptions {
        &self.options
    }

    /// Starts one more process; it is ready when this returns.
    pub(crate) fn join(&mut self, place: &'static str, role: RoleName) -> Result<()> {
        let options = self.options.clone();
        self.join_with(place, role, &options)
    }

    /// The same, for a process that is to be otherwise than the rest.
    pub(crate) fn join_with(
        &mut self,
        place: &'static str,
        role: RoleName,
        options: &RoleOptions,
    ) -> Result<()> {
        let child = spawn(options, role).with_context(|| format!("starting the {place}"))?;
        self.members.push(Member { place, child });
        self.wait_for_last().with_context(|| format!("waiting for the {place}"))
    }

    /// Places and process ids. Several may be in one place.
    pub(crate) fn pids(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.members.iter().map(|member| (member.place, member.child.id()))
    }

    /// The process id of the first one in this place.
    pub(crate) fn pid(&self, place: &str) -> Result<u32> {
        let found = self.members.iter().find(|member| member.place == place);
        Ok(found.with_context(|| format!("there is no {place}"))?.child.id())
    }

    /// Lets everybody in this place end in an orderly way.
    pub(crate) fn stop(&mut self, place: &str) {
        let (mut leaving, staying) =
            std::mem::take(&mut self.members).into_iter().partition(|member| member.place == place);
        self.members = staying;
        stop_all(&mut leaving);
    }

    /// Ends everybody in this place at once, as a crash would.
    pub(crate) fn kill(&mut self, place: &str) {
        for member in self.members.iter_mut().filter(|member| member.place == place) {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
        self.members.retain(|member| member.place != place);
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
        stop_all(&mut self.members);
    }
}

fn stop_all(members: &mut [Member]) {
    for member in members.iter_mut() {
        drop(member.child.stdin.take());
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    for member in members {
        while matches!(member.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = member.child.kill();
        let _ = member.child.wait();
    }
}

fn spawn(options: &RoleOptions, role: RoleName) -> Result<Child> {
    let name = role.to_possible_value().context("the role has no name")?;
    let child = Command::new(std::env::current_exe()?)
        .args(["role", name.get_name()])
        .args(options.to_arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}
