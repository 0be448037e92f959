//! `stepwell backup`: a copy of a namespace whose streams fit each other.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use stepwell_connection::clock::now_ms;
use stepwell_connection::provision::{ProvisionOptions, Settings, check_server, layout, settings};
use stepwell_connection::{Connection, ConnectionOptions, snapshot};
use stepwell_shared::ids::Namespace;
use stepwell_shared::permissions::Role;
use stepwell_shared::subject::Stream;

use crate::backup::files::{Writer, new_directory};
use crate::backup::hold::Holding;
use crate::backup::manifest::{self, Copy, FORMAT, Manifest};
use crate::backup::quiet;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::refusal;
use crate::text;
use crate::times::{millis, parse_duration, span};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct BackupArgs {
    /// A directory that is empty or does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// How long to wait until the orchestrators have given their partitions back
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,

    /// The lease of the orchestrators, if they were started with another one
    #[arg(long, env = "STEPWELL_LEASE", value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    lease: Duration,
}

const HELP: &str = "\
All streams and buckets of the namespace are copied as of one moment: orchestrators are held meanwhile and go on \
by themselves afterwards. Clients are not refused: what they send is stored, and taken in after the end. \
Activities that run go on. The directory holds payloads and the namespace's secret, readable by its owner only. \
It is a backup when it has a manifest.json, which is written last.

Examples:
  stepwell backup ./backup-2026-01-31
  stepwell backup ./backup -o json | jq .held_ms";

pub(crate) async fn run(
    args: BackupArgs,
    options: &ConnectionOptions,
    format: Format,
) -> Result<(), Failure> {
    let connection = options.connect("stepwell backup").await?;
    let backed_up = back_up(&args, &connection, format).await;
    backed_up.map_err(|failure| refusal::explained(failure, &connection, Role::Backup.name()))
}

async fn back_up(args: &BackupArgs, connection: &Connection, format: Format) -> Result<(), Failure> {
    check_server(connection).await?;
    let settings = settings(connection).await?;
    new_directory(&args.directory).await?;
    eprintln!("holding the orchestrators of the namespace {}", connection.namespace());
    let began = Instant::now();
    let reason = format!("backup by process {}, begun at {}", std::process::id(), now_ms());
    let holding = Holding::take(connection, &settings, args.lease, &reason).await?;
    let copied = copy(args, connection, &settings, &holding).await;
    holding.release().await;
    let held = began.elapsed();
    let manifest = copied?;
    manifest::write(&args.directory, &manifest).await?;
    tell(args, &manifest, held, format)
}

async fn copy(
    args: &BackupArgs,
    connection: &Connection,
    settings: &Settings,
    holding: &Holding,
) -> Result<Manifest, Failure> {
    let leases = quiet::wait(connection, settings, holding, args.lease, args.timeout).await?;
    let mut manifest = Manifest {
        format: FORMAT,
        namespace: connection.namespace().clone(),
        settings: *settings,
        server_version: connection.client().server_info().version,
        stepwell_version: env!("CARGO_PKG_VERSION").to_owned(),
        held_at_ms: now_ms(),
        lasting_keys: manifest::lasting_keys(connection)
            .await
            .map_err(|error| manifest::uncounted(&error))?,
        streams: Vec::new(),
    };
    for name in in_order(connection.namespace(), settings) {
        holding.check()?;
        manifest.streams.push(one(args, connection, &name).await?);
    }
    // Only now it is sure that all of it fits together.
    holding.check()?;
    quiet::still(connection, settings, &leases).await?;
    Ok(manifest)
}

/// TASKS first: workers go on and take tasks away when their report is on EVENTS. A task that is copied twice is
/// recognised; one that is copied nowhere would be lost.
pub(crate) fn in_order(namespace: &Namespace, settings: &Settings) -> Vec<String> {
    let all = layout(namespace, settings, &ProvisionOptions::default());
    let tasks = tasks_names(namespace, settings);
    let mut names: Vec<String> = all.into_iter().map(|config| config.name).collect();
    names.sort_by_key(|name| !tasks.contains(name));
    names
}

/// The names of the streams of tasks.
pub(crate) fn tasks_names(namespace: &Namespace, settings: &Settings) -> Vec<String> {
    settings.shards.all().map(|shard| Stream::Tasks(shard).name(namespace)).collect()
}

async fn one(args: &BackupArgs, connection: &Connection, name: &str) -> Result<Copy, Failure> {
    let file = format!("{name}.snapshot");
    let mut writer = Writer::create(args.directory.join(&file), name).await?;
    let taken_at_ms = now_ms();
    let taken = snapshot::take(connection, name, &mut writer).await;
    let taken = taken.map_err(|error| Failure::new(Exit::Failure, format!("cannot copy {name}: {error}")))?;
    let (bytes, sha256) = writer.finish().await?;
    let number = |field: &str| taken.state[field].as_u64().unwrap_or(0);
    let copy = Copy {
        name: name.to_owned(),
        file,
        bytes,
        sha256,
        messages: number("messages"),
        first_sequence: number("first_seq"),
        last_sequence: number("last_seq"),
        config: taken.config,
        state: taken.state,
        taken_at_ms,
    };
    eprintln!("{name}: {}, {}", text::count(copy.messages, "message"), text::bytes(bytes));
    Ok(copy)
}

fn tell(args: &BackupArgs, manifest: &Manifest, held: Duration, format: Format) -> Result<(), Failure> {
    let messages: u64 = manifest.streams.iter().map(|copy| copy.messages).sum();
    let bytes: u64 = manifest.streams.iter().map(|copy| copy.bytes).sum();
    match format {
        Format::Json => output::print_json(&json!({
            "directory": args.directory,
            "namespace": manifest.namespace,
            "streams": manifest.streams.len(),
            "messages": messages,
            "bytes": bytes,
            "held_ms": millis(held),
        })),
        Format::Table => output::print(&format!(
            "{} holds the namespace {}: {}, {}, {}; the orchestrators were held for {}",
            args.directory.display(),
            manifest.namespace,
            text::count(manifest.streams.len() as u64, "stream"),
            text::count(messages, "message"),
            text::bytes(bytes),
            span(millis(held)),
        )),
    }
}
