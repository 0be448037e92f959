//! What an operator may set.

use std::net::SocketAddr;
use std::time::Duration;

use stepwell_connection::HttpOptions;

/// Settings of one orchestrator process.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address for /metrics, /livez and /readyz; port 0 picks a free one
    #[arg(long, env = "STEPWELL_LISTEN", default_value = "127.0.0.1:9090")]
    pub listen: SocketAddr,

    /// Who may read what is served there
    #[command(flatten)]
    pub http: HttpOptions,

    /// Serve no HTTP at all
    #[arg(long)]
    pub no_http: bool,

    /// Number of partitions of a new namespace, fixed from then on; 16 when not given
    #[arg(long, env = "STEPWELL_PARTITIONS", value_name = "NUMBER")]
    pub partitions: Option<u32>,

    /// Over how many streams tasks and histories of a new namespace are spread, fixed from then on; 1 when not given
    #[arg(long, env = "STEPWELL_SHARDS", value_name = "NUMBER")]
    pub shards: Option<u32>,

    /// Replicas of every stream and bucket, used when they are created
    #[arg(long, env = "STEPWELL_REPLICAS", default_value_t = 1)]
    pub replicas: usize,

    /// How long closed runs are kept
    #[arg(long, env = "STEPWELL_RETENTION", default_value = "7d", value_parser = parse_duration)]
    pub retention: Duration,

    /// How many runs are kept in memory between their events
    #[arg(long, env = "STEPWELL_MAX_CACHED_RUNS", default_value_t = 10_000)]
    pub max_cached_runs: usize,

    /// How many runs are worked on at the same time
    #[arg(long, env = "STEPWELL_MAX_ACTIVE_RUNS", default_value_t = 2_000)]
    pub max_active_runs: usize,

    /// How long a worker may take to answer a workflow task
    #[arg(long, env = "STEPWELL_WORKFLOW_TASK_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    pub workflow_task_timeout: Duration,

    /// How long the lease lasts: others work about so long after this process was killed. All orchestrators of
    /// a namespace must have the same
    #[arg(long, env = "STEPWELL_LEASE", default_value = "3s", value_parser = parse_duration)]
    pub lease: Duration,

    /// How long an activity task may be unaccounted for before it is looked for
    #[arg(long, env = "STEPWELL_SWEEP_AFTER", default_value = "5m", value_parser = parse_duration)]
    pub sweep_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            http: HttpOptions::default(),
            no_http: false,
            partitions: None,
            shards: None,
            replicas: 1,
            retention: Duration::from_secs(7 * 24 * 3600),
            max_cached_runs: 10_000,
            max_active_runs: 2_000,
            workflow_task_timeout: Duration::from_secs(10),
            lease: Duration::from_secs(3),
            sweep_after: Duration::from_secs(5 * 60),
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 30s, 5m, 12h or 7d"))
}
