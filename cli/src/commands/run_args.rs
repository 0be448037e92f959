//! Which run a command is about.

use stepwell_shared::api::RunRequest;

/// Arguments of commands about one run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// The workflow id
    pub(crate) id: String,

    /// Only this run; the latest when not given
    #[arg(long, value_name = "RUN_ID")]
    pub(crate) run: Option<String>,
}

impl RunArgs {
    /// The request that names the run.
    pub(crate) fn request(&self) -> RunRequest {
        RunRequest { id: self.id.clone(), run_id: self.run.clone(), wait_ms: 0, after: 0, limit: 0 }
    }
}
