//! The processes under test: orchestrators and workers, each with a link of its own to the servers. Who ends is
//! started again, as whoever runs them in earnest would.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stepwell_connection::ConnectionOptions;

use crate::processes::Process;
use crate::proxy::Link;
use stepwell_simulation::program::OTHER_QUEUES;

/// Activities that a worker runs at once.
const SLOTS: usize = 8;

/// How long workers let reports wait for others, in milliseconds: with so little load, and over so many partitions,
/// they would hardly ever go together.
const LINGER_MS: &str = "1000";

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Orchestrator,
    /// A worker of this queue.
    Worker(&'static str),
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Worker(_) => "worker",
        }
    }
}

/// One place in the fleet, with the process that fills it now.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) number: usize,
    pub(crate) link: Link,
    /// `None` while it is to stay away.
    pub(crate) process: Option<Process>,
    /// When the next process is started, if there is none.
    back_at: Instant,
    url: String,
}

impl Member {
    pub(crate) fn name(&self) -> String {
        match self.role {
            Role::Orchestrator => format!("orchestrator {}", self.number),
            Role::Worker(queue) => format!("worker {} of {queue}", self.number),
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }
}

/// How processes are started.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) orchestrator: Vec<String>,
    /// Environment variables.
    pub(crate) variables: Vec<(String, String)>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Fleet {
    start: Start,
    ports: Vec<u16>,
    pub(crate) members: Vec<Member>,
    /// Processes that ended by themselves and were started again: who, and what it said last.
    pub(crate) ended_by_themselves: Vec<String>,
    numbers: usize,
}

impl Fleet {
    /// Starts so many orchestrators, so many workers of the workflows' queue, and one of each other queue.
    pub(crate) async fn start(
        start: Start,
        ports: Vec<u16>,
        orchestrators: usize,
        workers: usize,
    ) -> Result<Self> {
        let mut fleet =
            Self { start, ports, members: Vec::new(), ended_by_themselves: Vec::new(), numbers: 0 };
        for _ in 0..orchestrators {
            fleet.add(Role::Orchestrator).await?;
        }
        for queue in std::iter::repeat_n("default", workers).chain(OTHER_QUEUES) {
            fleet.add(Role::Worker(queue)).await?;
        }
        Ok(fleet)
    }

    /// Adds a place and fills it.
    pub(crate) async fn add(&mut self, role: Role) -> Result<usize> {
        self.numbers += 1;
        let mut link = Link::default();
        let mut urls = Vec::new();
        for target in &self.ports {
            let port = link.open(*target).await.context("no port for a link")?;
            urls.push(format!("nats://127.0.0.1:{port}"));
        }
        let member = Member {
            role,
            number: self.numbers,
            link,
            process: None,
            back_at: Instant::now(),
            url: urls.join(","),
        };
        self.members.push(member);
        self.tend();
        Ok(self.members.len() - 1)
    }

    /// Takes a place away; the process in it, if there is one, is the caller's.
    pub(crate) fn remove(&mut self, index: usize) -> Option<(Process, Link)> {
        let member = self.members.remove(index);
        member.process.map(|process| (process, member.link))
    }

    /// Takes the process out of its place; the next one comes after `pause`.
    pub(crate) fn take(&mut self, index: usize, pause: Duration) -> Option<Process> {
        let member = self.members.get_mut(index)?;
        member.back_at = Instant::now() + pause;
        member.process.take()
    }

    /// Starts processes where there are none and should be.
    pub(crate) fn tend(&mut self) {
        for member in &mut self.members {
            if let Some(process) = &mut member.process
                && !process.running()
            {
                let log = process.log();
                let said = log.lines().rfind(|line| line.starts_with("Error:")).or(log.lines().next_back());
                let said = said.unwrap_or("nothing");
                self.ended_by_themselves.push(format!("{}: {said}", member.role.name()));
                member.process = None;
                // Not at once: what it did not find may take a moment to be there.
                member.back_at = Instant::now() + Duration::from_millis(300);
            }
            if member.process.is_none() && Instant::now() >= member.back_at {
                let arguments = match member.role {
                    Role::Orchestrator => self.start.orchestrator.clone(),
                    Role::Worker(queue) => {
                        let folder = self.start.folder.to_string_lossy().into_owned();
                        let slots = SLOTS.to_string();
                        let mut words = vec![
                            "worker",
                            "--folder",
                            &folder,
                            "--queue",
                            queue,
                            "--slots",
                            &slots,
                            "--programs",
                            "--report-linger",
                            LINGER_MS,
                        ];
                        if queue != "default" {
                            words.push("--no-workflows");
                        }
                        words.into_iter().map(str::to_owned).collect()
                    }
                };
                let connection = ConnectionOptions::to_url(&member.url);
                let name = member.name().replace(' ', "-");
                member.process = Some(Process::start_in(
                    &name,
                    &self.start.program,
                    &arguments,
                    &connection,
                    &self.start.folder,
                    &self.start.variables,
                ));
            }
        }
    }

    /// The places with a living process that `wanted` says yes to.
    pub(crate) fn living(&self, wanted: impl Fn(Role) -> bool) -> Vec<usize> {
        let places = self.members.iter().enumerate();
        let living = places.filter(|(_, member)| wanted(member.role) && member.process.is_some());
        living.map(|(index, _)| index).collect()
    }

    /// Ends all in good order; those that do not end well, with how they ended.
    pub(crate) async fn end(self) -> Vec<String> {
        let mut bad = Vec::new();
        // Workers first: they still have something to report.
        let (orchestrators, workers): (Vec<_>, Vec<_>) =
            self.members.into_iter().partition(|member| member.role == Role::Orchestrator);
        for member in workers.into_iter().chain(orchestrators) {
            let name = member.name();
            let Some(process) = member.process else { continue };
            process.ask_to_end();
            let status = process.ended().await;
            if !status.success() {
                bad.push(format!("{name} ended with {status} when it was asked to end"));
            }
        }
        bad
    }
}
