//! Messages and bytes that have gone through the server, as its monitoring page tells.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Since the server was started.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct Traffic {
    /// Messages that clients sent.
    pub(crate) in_msgs: u64,
    /// Their bytes.
    pub(crate) in_bytes: u64,
    /// Messages that clients were sent.
    pub(crate) out_msgs: u64,
    /// Their bytes.
    pub(crate) out_bytes: u64,
}

impl Traffic {
    /// Reads it now.
    pub(crate) async fn now(monitoring_port: u16) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", monitoring_port)).await?;
        stream.write_all(b"GET /varz HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("the server's monitoring page has no body")?;
        Ok(serde_json::from_str(body)?)
    }

    /// What was added since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            in_msgs: self.in_msgs - before.in_msgs,
            in_bytes: self.in_bytes - before.in_bytes,
            out_msgs: self.out_msgs - before.out_msgs,
            out_bytes: self.out_bytes - before.out_bytes,
        }
    }
}
