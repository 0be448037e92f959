//! Creating a namespace, or checking one that exists. Doing it twice, or twice at once, is the same as
//! doing it once. What exists is never changed: a difference that would break something is an error.

mod check;
mod layout;
mod marker;
mod queue;
mod settings;

use async_nats::jetstream::stream::{Config, Info};
use stepwell_shared::shard::MAX_SHARDS;
use thiserror::Error;

use self::marker::Marker;
use crate::connection::{Connection, JetStreamError};
use crate::placement;

pub use check::{Difference, differences};
pub use layout::layout;
pub use queue::{ACK_WAIT, ensure_queue, find_queue, queue_mistakes, remake_queue};
pub use settings::{MAX_PARTITIONS, Settings};

/// The oldest server version that has everything that is needed.
pub const MIN_SERVER_VERSION: (i64, i64, i64) = (2, 12, 0);

/// What a namespace should be like when it has to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionOptions {
    /// Copies of every stream and bucket: 1, or 3 in a cluster.
    pub replicas: usize,
    /// Partitions. `None`: what the namespace has, or the default for a new one. `Some` of another
    /// number than the namespace has is an error: it cannot be changed.
    pub partitions: Option<u32>,
    /// Over how many streams tasks and histories are spread. `None` and `Some` as for the partitions; 1 for a new
    /// namespace. At most [`stepwell_shared::shard::MAX_SHARDS`], and no more than there are partitions.
    pub shards: Option<u32>,
    /// Most bytes of the EVENTS stream, and of all TASKS streams together. `None`: a default that is lowered to "no limit
    /// of its own" when the server has less storage than that.
    pub max_bytes: Option<u64>,
}

impl Default for ProvisionOptions {
    fn default() -> Self {
        Self { replicas: 1, partitions: None, shards: None, max_bytes: None }
    }
}

/// Why a namespace could not be created or used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProvisionError {
    /// The server is too old.
    #[error("the NATS server has version {found}; Stepwell needs 2.12 or newer")]
    ServerTooOld {
        /// Its version.
        found: String,
    },
    /// JetStream is off.
    #[error(
        "the NATS server does not offer JetStream to this account: {reason}; start nats-server with `-js` \
         or a `jetstream {{}}` block, and enable it for the account"
    )]
    NoJetStream {
        /// What was seen.
        reason: String,
    },
    /// A stream exists and is not what it must be.
    #[error(
        "the stream {stream} exists and is not as Stepwell needs it: {differences}; it was not changed. \
         Use another namespace, or move its data and delete it"
    )]
    Different {
        /// The stream.
        stream: String,
        /// What is different.
        differences: String,
    },
    /// The number of partitions, or of shards, cannot be changed.
    #[error(
        "the namespace {namespace} has {found} {what} and {wanted} were asked for; the number is fixed \
         when a namespace is created. Leave --{what} out, or use another namespace"
    )]
    Fixed {
        /// The namespace.
        namespace: String,
        /// `partitions` or `shards`.
        what: &'static str,
        /// What it has.
        found: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// The number of partitions makes no sense.
    #[error("{0} partitions were asked for; it must be between 1 and {MAX_PARTITIONS}")]
    PartitionCount(u32),
    /// The number of shards makes no sense.
    #[error(
        "{shards} shards were asked for; it must be between 1 and {MAX_SHARDS}, and no more than the {partitions} \
         partitions"
    )]
    ShardCount {
        /// What was asked for.
        shards: u32,
        /// How many partitions there are.
        partitions: u32,
    },
    /// The settings cannot be read.
    #[error("the settings of the namespace {namespace} cannot be read: {reason}")]
    Settings {
        /// The namespace.
        namespace: String,
        /// What is wrong.
        reason: String,
    },
    /// No orchestrator has created the namespace yet.
    #[error(
        "the namespace {namespace} does not exist on this server; start an orchestrator, which creates it \
         (`stepwell dev` or `stepwell orchestrator`), or check --namespace"
    )]
    NotProvisioned {
        /// The namespace.
        namespace: String,
    },
    /// A stream that was there is not there any more.
    #[error(
        "the stream {stream} of the namespace {namespace} was created once and does not exist any more: what was \
         acknowledged and lay in it is gone. Nothing was created. Restore a backup (`stepwell restore`, after \
         deleting what is left of the namespace), or accept the loss: docs/errors.md, \"A stream has vanished\", \
         says what that costs for each stream; then `nats kv del STEPWELL_{namespace}_owners provisioned` lets the \
         next start create it, empty"
    )]
    Vanished {
        /// The stream.
        stream: String,
        /// The namespace.
        namespace: String,
    },
    /// A stream that was there was deleted and made again.
    #[error(
        "the stream {stream} of the namespace {namespace} is not the one that was created with the namespace: \
         somebody, or a server that recovered, made it anew, and what was acknowledged and lay in the old one is \
         gone. Nothing was changed. Restore a backup (`stepwell restore`, after deleting what is left of the \
         namespace), or accept the loss: docs/errors.md, \"A stream has vanished\", says what that costs for each \
         stream; then `nats kv del STEPWELL_{namespace}_owners provisioned` lets the next start go on with it"
    )]
    MadeAnew {
        /// The stream.
        stream: String,
        /// The namespace.
        namespace: String,
    },
    /// The bucket with the settings is not there, but other streams are.
    #[error(
        "the bucket owners of the namespace {namespace} does not exist, but the stream {stream} does: the \
         namespace's settings, checkpoints and secret are gone. Nothing was created. Restore a backup (`stepwell \
         restore`, after deleting what is left of the namespace), or use another namespace"
    )]
    OwnersVanished {
        /// The namespace.
        namespace: String,
        /// A stream of it that exists.
        stream: String,
    },
    /// JetStream refused or did not answer.
    #[error("cannot {what}: {source}")]
    JetStream {
        /// What was tried.
        what: String,
        /// What it said.
        source: JetStreamError,
    },
}

/// Creates what is missing of the namespace and checks what is there.
///
/// # Errors
/// [`ProvisionError`] says what was found and what to do.
pub async fn provision(
    connection: &Connection,
    options: &ProvisionOptions,
) -> Result<Settings, ProvisionError> {
    // What makes no sense is refused before anything is asked or created.
    let chosen = settings::chosen(options)?;
    check_server(connection).await?;
    // The settings go first: two orchestrators that start at once must agree on the partitions before
    // one of them creates the stream whose transform depends on it.
    let owners = layout::owners(connection.namespace(), options.replicas);
    if stream_info(connection, &owners.name).await?.is_none() {
        nothing_else_exists(connection, options, &chosen, &owners.name).await?;
    }
    create_or_check(connection, options, owners, None).await?;
    let settings = settings::agree(connection, options).await?;
    let store = settings::store(connection).await?;
    let marker = marker::read(connection, &store).await?;
    let layout = layout(connection.namespace(), &settings, options);
    for config in &layout {
        create_or_check(connection, options, config.clone(), marker.as_ref()).await?;
    }
    // Without one this is the first start, or one before it ended in the middle.
    if marker.is_none() {
        marker::write(connection, &store, &layout).await?;
    }
    Ok(settings)
}

/// Writes the marker of a complete namespace anew, for streams that were restored and are others therefore.
///
/// # Errors
/// As [`provision`].
pub async fn mark_provisioned(connection: &Connection) -> Result<(), ProvisionError> {
    let settings = settings(connection).await?;
    let layout = layout(connection.namespace(), &settings, &ProvisionOptions::default());
    marker::write(connection, &settings::store(connection).await?, &layout).await
}

/// Refuses to begin a namespace of which something exists: its bucket `owners` is always created first.
async fn nothing_else_exists(
    connection: &Connection,
    options: &ProvisionOptions,
    chosen: &Settings,
    owners: &str,
) -> Result<(), ProvisionError> {
    for wanted in layout(connection.namespace(), chosen, options) {
        if wanted.name == owners {
            continue;
        }
        if let Some(info) = stream_info(connection, &wanted.name).await? {
            check(&wanted, &info.config)?;
            // Somebody else may have begun just now, after it was looked for.
            if stream_info(connection, owners).await?.is_some() {
                return Ok(());
            }
            return Err(ProvisionError::OwnersVanished {
                namespace: connection.namespace().to_string(),
                stream: wanted.name,
            });
        }
    }
    Ok(())
}

/// The settings of a namespace that exists.
///
/// # Errors
/// [`ProvisionError::NotProvisioned`] when no orchestrator has created it yet.
pub async fn settings(connection: &Connection) -> Result<Settings, ProvisionError> {
    settings::read(connection)
        .await?
        .ok_or_else(|| ProvisionError::NotProvisioned { namespace: connection.namespace().to_string() })
}

/// Checks that the server is new enough and offers JetStream.
///
/// # Errors
/// [`ProvisionError::ServerTooOld`] or [`ProvisionError::NoJetStream`].
pub async fn check_server(connection: &Connection) -> Result<(), ProvisionError> {
    let (major, minor, patch) = MIN_SERVER_VERSION;
    if !connection.client().is_server_compatible(major, minor, patch) {
        return Err(ProvisionError::ServerTooOld { found: connection.client().server_info().version });
    }
    let failed = |source| ProvisionError::JetStream { what: "ask for JetStream".into(), source };
    match placement::ask::<serde_json::Value>(connection, "INFO".into(), &()).await {
        Ok(_) => Ok(()),
        Err(source @ JetStreamError::Refused { err_code: placement::NO_LEADER, .. }) => Err(failed(source)),
        Err(error @ (JetStreamError::Unavailable | JetStreamError::Refused { .. })) => {
            Err(ProvisionError::NoJetStream { reason: error.to_string() })
        }
        Err(source) => Err(failed(source)),
    }
}

/// A stream as it is, or `None` when there is none of that name.
///
/// # Errors
/// When JetStream does not answer.
pub async fn stream_info(connection: &Connection, name: &str) -> Result<Option<Info>, ProvisionError> {
    match connection.api::<Info>(format!("STREAM.INFO.{name}"), &()).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.not_found() => Ok(None),
        Err(source) => Err(ProvisionError::JetStream { what: format!("look at the stream {name}"), source }),
    }
}

/// The streams of a namespace that is at work with which an orchestrator would refuse to start, and what is wrong with
/// each.
///
/// # Errors
/// When JetStream does not answer.
pub async fn wrong_streams(
    connection: &Connection,
    settings: &Settings,
) -> Result<Vec<(String, String)>, ProvisionError> {
    let mut wrong = Vec::new();
    for wanted in layout(connection.namespace(), settings, &ProvisionOptions::default()) {
        match stream_info(connection, &wanted.name).await? {
            Some(info) => match fatal(&wanted, &info.config) {
                found if found.is_empty() => {}
                found => wrong.push((wanted.name, found)),
            },
            None => wrong.push((wanted.name, "it does not exist".into())),
        }
    }
    Ok(wrong)
}

async fn create_or_check(
    connection: &Connection,
    options: &ProvisionOptions,
    wanted: Config,
    marker: Option<&Marker>,
) -> Result<(), ProvisionError> {
    let found = stream_info(connection, &wanted.name).await?;
    if let Some(info) = &found {
        check(&wanted, &info.config)?;
    }
    if let Some(marker) = marker {
        marker.check(connection, &wanted.name, found.as_ref())?;
    }
    if found.is_some() {
        return Ok(());
    }
    match create(connection, options, &wanted).await {
        Ok(info) => check(&wanted, &info.config),
        Err(error) if is_conflict(&error) => {
            // Somebody else was faster; then it must be as we want it, too.
            match stream_info(connection, &wanted.name).await? {
                Some(info) => check(&wanted, &info.config),
                None => Err(not_created(&wanted, error)),
            }
        }
        Err(error) => Err(not_created(&wanted, error)),
    }
}

async fn create(
    connection: &Connection,
    options: &ProvisionOptions,
    wanted: &Config,
) -> Result<Info, JetStreamError> {
    let verb = format!("STREAM.CREATE.{}", wanted.name);
    let created = placement::ask(connection, verb.clone(), wanted).await;
    match created {
        Err(JetStreamError::Refused { err_code, description, .. })
            if NO_ROOM.contains(&err_code) && options.max_bytes.is_none() && wanted.max_bytes > 0 =>
        {
            tracing::warn!(
                stream = wanted.name,
                description,
                "the server has less storage than the stream's default limit; creating it without one"
            );
            placement::ask(connection, verb, &Config { max_bytes: -1, ..wanted.clone() }).await
        }
        created => created,
    }
}

/// Errors that say that a stream's `max_bytes` cannot be reserved; 10005 is what a cluster says.
pub const NO_ROOM: [u64; 6] = [10002, 10005, 10023, 10028, 10047, 10104];

fn is_conflict(error: &JetStreamError) -> bool {
    // "stream name already in use with a different configuration"
    matches!(error, JetStreamError::Refused { err_code: 10058, .. })
}

fn not_created(wanted: &Config, source: JetStreamError) -> ProvisionError {
    ProvisionError::JetStream { what: format!("create the stream {}", wanted.name), source }
}

fn check(wanted: &Config, found: &Config) -> Result<(), ProvisionError> {
    let differences = fatal(wanted, found);
    if !differences.is_empty() {
        return Err(ProvisionError::Different { stream: wanted.name.clone(), differences });
    }
    for difference in self::differences(wanted, found) {
        tracing::warn!(stream = wanted.name, "{difference}; left as it is");
    }
    Ok(())
}

/// The differences with which nobody can work, in words; empty when there is none.
fn fatal(wanted: &Config, found: &Config) -> String {
    let all = differences(wanted, found);
    let fatal: Vec<String> = all.iter().filter(|one| one.fatal).map(Difference::to_string).collect();
    fatal.join("; ")
}
