//! `stepwell restore`: makes a namespace of a backup, on a server that does not have it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepwell_connection::provision::{NO_ROOM, check_server, mark_provisioned, stream_info};
use stepwell_connection::snapshot::{self, Snapshot};
use stepwell_connection::{Connection, ConnectionOptions, JetStreamError};
use stepwell_shared::ids::Namespace;
use stepwell_shared::permissions::Role;
use stepwell_shared::subject::{Bucket, HOLD_KEY};

use super::backup::{in_order, tasks_names};
use crate::backup::files::{Reader, verify};
use crate::backup::manifest::{self, Copy, Manifest};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::refusal;
use crate::text;

/// Most replicas that JetStream takes.
const MAX_REPLICAS: u8 = 5;

/// How long the replicas of a stream that has just been restored may need until they answer with all that is in it, and
/// the pause between two looks.
const REPLICAS_BEGIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct RestoreArgs {
    /// The directory of a backup
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Replicas of every stream and bucket; as many as they had when not given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_REPLICAS)))]
    replicas: Option<u8>,
}

const HELP: &str = "\
Everything is read and checked before anything is written. The server must not have the namespace, and have the \
version of the server that was backed up, or a newer one. Stop orchestrators, workers and clients of the namespace \
before, and start them afterwards: all runs go on from where they stood. What was acknowledged after the backup is \
not in it.

Examples:
  stepwell restore ./backup-2026-01-31
  stepwell restore ./backup --replicas 3 --nats-url nats://a:4222,nats://b:4222";

pub(crate) async fn run(
    args: RestoreArgs,
    options: &ConnectionOptions,
    format: Format,
) -> Result<(), Failure> {
    let manifest = manifest::read(&args.directory).await?;
    if manifest.namespace != options.namespace {
        let text = format!(
            "this is a backup of the namespace {}, not of {}; it can only be restored under its name: --namespace {}",
            manifest.namespace, options.namespace, manifest.namespace
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    let copies = copies(&manifest)?;
    for copy in &copies {
        verify(&args.directory, copy).await?;
    }
    eprintln!("the backup is complete and undamaged");
    let connection = options.connect("stepwell restore").await?;
    let restored = make(&args, &connection, &manifest, &copies, format).await;
    restored.map_err(|failure| refusal::explained(failure, &connection, Role::Restore.name()))
}

async fn make(
    args: &RestoreArgs,
    connection: &Connection,
    manifest: &Manifest,
    copies: &[Copy],
    format: Format,
) -> Result<(), Failure> {
    check_server(connection).await?;
    check_version(connection, manifest)?;
    check_absent(connection, copies).await?;
    let mut restored = Vec::new();
    for copy in copies {
        one(args, connection, copy).await.map_err(|failure| unfinished(&failure, copy, &restored))?;
        if copy.name == Bucket::Owners.stream_name(&manifest.namespace) {
            // While orchestrators still miss the others.
            check_owners(connection, manifest).await?;
        }
        restored.push(copy.name.clone());
    }
    clean(connection).await?;
    mark_provisioned(connection).await?;
    let messages: u64 = copies.iter().map(|copy| copy.messages).sum();
    match format {
        Format::Json => output::print_json(&json!({
            "namespace": manifest.namespace,
            "streams": restored.len(),
            "messages": messages,
            "held_at_ms": manifest.held_at_ms,
        })),
        Format::Table => output::print(&format!(
            "the namespace {} is restored: {}, {}; start orchestrators and workers",
            manifest.namespace,
            text::count(restored.len() as u64, "stream"),
            text::count(messages, "message"),
        )),
    }
}

/// The copies in the order in which they are restored: `owners` first, so that an orchestrator that starts too early
/// misses the others and does not begin a new namespace; TASKS last, so that a worker that is there too early finds
/// whatever it asks for.
fn copies(manifest: &Manifest) -> Result<Vec<Copy>, Failure> {
    let mut by_name: BTreeMap<&str, &Copy> =
        manifest.streams.iter().map(|copy| (copy.name.as_str(), copy)).collect();
    let tasks = tasks_names(&manifest.namespace, &manifest.settings);
    let owners = Bucket::Owners.stream_name(&manifest.namespace);
    let mut names = in_order(&manifest.namespace, &manifest.settings);
    names.sort_by_key(|name| (*name != owners, tasks.contains(name)));
    let mut copies = Vec::new();
    for name in names {
        match by_name.remove(name.as_str()) {
            Some(copy) => copies.push(copy.clone()),
            None => {
                let text =
                    format!("the backup is not complete: its manifest does not name the stream {name}");
                return Err(Failure::new(Exit::Usage, text));
            }
        }
    }
    match by_name.keys().next() {
        None => Ok(copies),
        Some(name) => {
            let text = format!("the manifest names the stream {name}, which is none of the namespace's");
            Err(Failure::new(Exit::Usage, text))
        }
    }
}

/// A snapshot is in the server's own format, which newer servers read and older ones may not.
fn check_version(connection: &Connection, manifest: &Manifest) -> Result<(), Failure> {
    let here = connection.client().server_info().version;
    let parts = |version: &str| {
        let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    if parts(&here) >= parts(&manifest.server_version) {
        return Ok(());
    }
    let text = format!(
        "the backup was made by nats-server {}, and this one is {here}; an older server may not understand it. \
         Restore it onto {} or newer",
        manifest.server_version, manifest.server_version
    );
    Err(Failure::new(Exit::Conflict, text))
}

async fn check_absent(connection: &Connection, copies: &[Copy]) -> Result<(), Failure> {
    let mut there = Vec::new();
    for copy in copies {
        if stream_info(connection, &copy.name).await?.is_some() {
            there.push(copy.name.clone());
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the server has streams of the namespace {}: {}; nothing was changed. Restore onto a server without them, \
         or, if what is in them may go, end orchestrators and workers and remove each: `nats stream rm NAME`",
        connection.namespace(),
        there.join(", ")
    );
    Err(Failure::new(Exit::Conflict, text))
}

async fn one(args: &RestoreArgs, connection: &Connection, copy: &Copy) -> Result<(), Failure> {
    let mut snapshot = Snapshot { config: copy.config.clone(), state: copy.state.clone() };
    if let Some(replicas) = args.replicas {
        snapshot.config["num_replicas"] = json!(replicas);
    }
    let path = args.directory.join(&copy.file);
    let mut restored =
        snapshot::restore(connection, &copy.name, &snapshot, &mut Reader::open(path.clone()).await?).await;
    if let Err(JetStreamError::Refused { err_code, .. }) = &restored
        && NO_ROOM.contains(err_code)
        && snapshot.config["max_bytes"].as_i64().is_some_and(|limit| limit > 0)
    {
        eprintln!(
            "{}: the server has less storage than the stream's limit; restoring it without one",
            copy.name
        );
        snapshot.config["max_bytes"] = json!(-1);
        restored = snapshot::restore(connection, &copy.name, &snapshot, &mut Reader::open(path).await?).await;
    }
    let failed = |why: String| Failure::new(Exit::Failure, format!("cannot restore {}: {why}", copy.name));
    let state = restored.map_err(|error| failed(error.to_string()))?;
    check_state(connection.namespace(), copy, &state).map_err(failed)?;
    eprintln!("{}: {}", copy.name, text::count(copy.messages, "message"));
    Ok(())
}

/// Compares what there is with what was. Messages whose time was over are gone.
fn check_state(namespace: &Namespace, copy: &Copy, state: &Value) -> Result<(), String> {
    let number = |field: &str| state[field].as_u64().unwrap_or(0);
    let (messages, last) = (number("messages"), number("last_seq"));
    let complete = messages == copy.messages || (copy.forgets(namespace) && messages < copy.messages);
    if last == copy.last_sequence && complete {
        return Ok(());
    }
    Err(format!(
        "it has {messages} messages up to {last}, and should have {} up to {}",
        copy.messages, copy.last_sequence
    ))
}

fn unfinished(failure: &Failure, copy: &Copy, restored: &[String]) -> Failure {
    let mut there: Vec<&str> = restored.iter().map(String::as_str).collect();
    there.push(&copy.name);
    let text = format!(
        "{}; the namespace is not complete, and orchestrators refuse to start on it. Remove what there is of {} \
         (`nats stream rm NAME`) and try again",
        failure.message(),
        there.join(", ")
    );
    Failure::new(failure.exit(), text)
}

/// The bucket `owners` may have lost what is replaced all the time, and nothing else.
async fn check_owners(connection: &Connection, manifest: &Manifest) -> Result<(), Failure> {
    let deadline = Instant::now() + REPLICAS_BEGIN;
    let found = loop {
        let found = manifest::lasting_keys(connection).await;
        match found {
            Ok(found) if found >= manifest.lasting_keys => return Ok(()),
            Ok(_) | Err(JetStreamError::Unavailable) if Instant::now() < deadline => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            found => break found.map_err(|error| manifest::uncounted(&error))?,
        }
    };
    let text = format!(
        "the bucket owners has {found} lasting keys, and should have {}; the namespace is not complete, and \
         orchestrators refuse to start on it. Remove its streams (`nats stream rm NAME`) and restore another backup",
        manifest.lasting_keys
    );
    Err(Failure::new(Exit::Failure, text))
}

/// Removes what only meant something where the backup was made: the orchestrators that were there, and the hold.
async fn clean(connection: &Connection) -> Result<(), Failure> {
    let failed =
        |error: String| Failure::new(Exit::Failure, format!("cannot clean the bucket owners: {error}"));
    let stream =
        connection.jetstream().get_stream_no_info(Bucket::Owners.stream_name(connection.namespace())).await;
    let stream = stream.map_err(|error| failed(error.to_string()))?;
    for key in ["member.*", HOLD_KEY] {
        let subject = Bucket::Owners.subject(connection.namespace(), key);
        stream.purge().filter(subject).await.map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}
