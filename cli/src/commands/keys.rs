//! `stepwell keys`: makes keys with which clients and workers encrypt. It talks to nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;
use stepwell_encryption::{KEYS_FILE_VARIABLE, KeyRing, new_key_line};

use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// Make a key
    New(NewArgs),
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// The key's id, which everybody can see; the time when not given
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// Write it into this key file, as the last key if there are others; without it to stdout
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

const HELP: &str = "\
Clients and workers that have a key file encrypt payloads with its first key and decrypt with all of them. \
Orchestrators need no keys.

Examples:
  stepwell keys new --file stepwell.keys
  stepwell start order --id 1 --input '{\"cents\": 4990}' --keys-file stepwell.keys
  STEPWELL_KEYS_FILE=stepwell.keys stepwell result 1";

pub(crate) fn run(args: KeysArgs, format: Format) -> Result<(), Failure> {
    match args.command {
        KeysCommand::New(args) => new(args, format),
    }
}

fn new(args: NewArgs, format: Format) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(Exit::Usage, error.to_string());
    let id = args.id.unwrap_or_else(id_of_now);
    let line = new_key_line(&id).map_err(|error| wrong(&error))?;
    let Some(path) = args.file else {
        eprintln!(
            "Put the line into a key file that only clients and workers can read, as its first line to encrypt with \
             it. They find the file by {KEYS_FILE_VARIABLE} or --keys-file. Keep a copy in a safe place: nothing that \
             is encrypted with the key can be read without it"
        );
        return match format {
            Format::Table => output::print(&line),
            Format::Json => output::print_json(&json!({"id": id, "line": line.as_str()})),
        };
    };
    let others = match KeyRing::read(&path) {
        _ if !path.exists() => false,
        Ok(ring) if ring.ids().any(|other| other == id) => {
            let text = format!("{} has a key `{id}` already; choose another --id", path.display());
            return Err(Failure::new(Exit::Conflict, text));
        }
        Ok(_) => true,
        Err(error) => return Err(wrong(&error)),
    };
    let written = if others { append(&path, &line) } else { create(&path, &line) };
    written.map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot write the key file {}: {error}", path.display()))
    })?;
    let path = path.display();
    if others {
        eprintln!(
            "{path} has one key more, which decrypts. When every client and worker has the file, move the last line to \
             the top: then it encrypts. Take out older keys when nothing is encrypted with them any more"
        );
    } else {
        eprintln!(
            "{path} has one key, which encrypts. Start clients and workers with {KEYS_FILE_VARIABLE}={path}. Keep a \
             copy in a safe place: nothing that is encrypted with the key can be read without it"
        );
    }
    match format {
        Format::Table => output::print(&id),
        Format::Json => output::print_json(&json!({"id": id, "file": path.to_string()})),
    }
}

/// The time to the minute, such as `2026-11-26-1105`.
fn id_of_now() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.chars().take(16).filter(|it| *it != ':').map(|it| if it == 'T' { '-' } else { it }).collect()
}

fn create(path: &Path, line: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write(options.open(path)?, "", line)
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let ends = std::fs::read(path)?.last() == Some(&b'\n');
    write(OpenOptions::new().append(true).open(path)?, if ends { "" } else { "\n" }, line)
}

fn write(mut file: File, before: &str, line: &str) -> io::Result<()> {
    // In one piece: a reader sees all of it or nothing.
    file.write_all(format!("{before}{line}\n").as_bytes())?;
    file.sync_all()
}
