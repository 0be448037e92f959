//! This program in another role: a peer's worker. It ends when its standard input is closed, and is killed
//! when that does not help.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::arguments::RoleName;
use crate::tally::Count;

/// How long a worker may take to start, to answer and to end.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A worker.
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What it said when it was ready.
    pub(crate) first: String,
}

impl Worker {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(role: RoleName, url: Option<&str>) -> Result<Self> {
        let name = role.to_possible_value().context("the role has no name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["role", name.get_name()]);
        command.args(url.into_iter().flat_map(|url| ["--url", url]));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let input = child.stdin.take().context("the worker has no input")?;
        let output = child.stdout.take().context("the worker has no output")?;
        let mut output = BufReader::new(output).lines();
        let first = next_line(&mut output).await.with_context(|| format!("starting {}", name.get_name()))?;
        Ok(Self { child, input, output, first })
    }

    /// What it counted since it was last asked.
    pub(crate) async fn count(&mut self) -> Result<Count> {
        self.input.write_all(b"count\n").await?;
        Ok(serde_json::from_str(&next_line(&mut self.output).await?)?)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets it end.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { mut child, input, .. } = self;
        drop(input);
        tokio::time::timeout(TIMEOUT, child.wait()).await.context("a worker does not end")??;
        Ok(())
    }
}

async fn next_line(output: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    let line =
        tokio::time::timeout(TIMEOUT, output.next_line()).await.context("a worker does not answer")??;
    line.context("a worker ended before its time")
}
