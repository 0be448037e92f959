//! Messages and bytes that have gone through the server, as its monitoring page tells.

use anyhow::Result;
use serde::Deserialize;

use super::http;

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
        let (_, body) = http::get(([127, 0, 0, 1], monitoring_port).into(), "/varz").await?;
        Ok(serde_json::from_str(&body)?)
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
