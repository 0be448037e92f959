//! `manifest.json`: what a backup is made of. It is written last and at once; a directory without it is no backup.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepwell_connection::page::read_last_of_each;
use stepwell_connection::provision::Settings;
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::ids::Namespace;
use stepwell_shared::subject::{Bucket, OwnersKey, parse_owners_key};

use crate::exit::{Exit, Failure};

/// The version of the directory's format that is written, and the only one that is read.
pub(crate) const FORMAT: u32 = 1;

/// The file's name.
pub(crate) const NAME: &str = "manifest.json";

/// Largest manifest that is read: nine streams take some ten thousand bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Most streams that a manifest may name.
const MAX_STREAMS: usize = 64;

/// What a backup is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Version of this format.
    pub(crate) format: u32,
    /// The namespace. It cannot be restored under another name: the names of its streams are in its data.
    pub(crate) namespace: Namespace,
    /// What was decided once for the namespace.
    pub(crate) settings: Settings,
    /// The version of the server that made the data.
    pub(crate) server_version: String,
    /// The version of Stepwell that wrote this.
    pub(crate) stepwell_version: String,
    /// When all orchestrators had stopped to decide, in milliseconds since the Unix epoch. What was acknowledged
    /// before is in the backup.
    pub(crate) held_at_ms: u64,
    /// How many keys of the bucket `owners` stay as they are while it is copied, see [`lasting_keys`]. Not known of
    /// backups that were made before this was counted.
    #[serde(default)]
    pub(crate) lasting_keys: usize,
    /// The streams, in the order in which they were copied.
    pub(crate) streams: Vec<Copy>,
}

/// The copy of one stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Copy {
    /// The stream.
    pub(crate) name: String,
    /// The file with its data.
    pub(crate) file: String,
    /// The file's size in bytes.
    pub(crate) bytes: u64,
    /// The file's SHA-256, in lower-case hexadecimal digits.
    pub(crate) sha256: String,
    /// How many messages it holds.
    pub(crate) messages: u64,
    /// Its first sequence number.
    pub(crate) first_sequence: u64,
    /// Its last sequence number.
    pub(crate) last_sequence: u64,
    /// Its configuration, as the server wrote it.
    pub(crate) config: Value,
    /// Its state, as the server wrote it.
    pub(crate) state: Value,
    /// When the copy was begun, in milliseconds since the Unix epoch.
    pub(crate) taken_at_ms: u64,
}

impl Copy {
    /// Whether the stream may have fewer messages than were counted: some go by themselves as time passes, and in the
    /// bucket `owners` signs of life are replaced while it is copied, so that neither the old nor the new one may be in
    /// the copy. [`lasting_keys`] says what must be there.
    pub(crate) fn forgets(&self, namespace: &Namespace) -> bool {
        if self.name == Bucket::Owners.stream_name(namespace) {
            return true;
        }
        let ages = self.config["max_age"].as_u64().is_some_and(|age| age > 0);
        ages || self.config["allow_msg_ttl"].as_bool().unwrap_or(false)
    }
}

/// How many keys the bucket `owners` has besides those that are written while it is copied: the orchestrators' signs of
/// life and the hold. Whichever replica answers counts: one that has just begun may have fewer, or not answer yet.
pub(crate) async fn lasting_keys(connection: &Connection) -> Result<usize, JetStreamError> {
    let namespace = connection.namespace();
    let (stream, prefix) = (Bucket::Owners.stream_name(namespace), Bucket::Owners.subject(namespace, ""));
    let all = read_last_of_each(connection, &stream, &[format!("{prefix}>")]).await?;
    let keys = all.iter().filter_map(|message| message.subject.strip_prefix(&prefix));
    let lasting = keys.filter(|key| match parse_owners_key(key) {
        Some(OwnersKey::Member(_) | OwnersKey::Hold) => false,
        Some(OwnersKey::Lease(_)) | None => true,
    });
    Ok(lasting.count())
}

/// Why the lasting keys are not known.
pub(crate) fn uncounted(error: &JetStreamError) -> Failure {
    Failure::new(Exit::Failure, format!("the keys of the bucket owners cannot be counted: {error}"))
}

/// Writes the manifest as the last thing of a backup.
pub(crate) async fn write(directory: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(manifest);
    let text = text.map_err(|error| Failure::new(Exit::Failure, format!("cannot write JSON: {error}")))?;
    let (unfinished, finished) = (directory.join(format!("{NAME}.unfinished")), directory.join(NAME));
    let written = async {
        tokio::fs::write(&unfinished, text).await?;
        tokio::fs::File::open(&unfinished).await?.sync_all().await?;
        tokio::fs::rename(&unfinished, &finished).await?;
        // The name, too, must be on the disk.
        tokio::fs::File::open(directory).await?.sync_all().await
    };
    written
        .await
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot write {}: {error}", finished.display())))
}

/// Reads the manifest of a directory.
pub(crate) async fn read(directory: &Path) -> Result<Manifest, Failure> {
    let path = directory.join(NAME);
    let bad = |reason: String| Failure::new(Exit::Usage, reason);
    let size = match tokio::fs::metadata(&path).await {
        Ok(found) => found.len(),
        Err(error) => {
            return Err(bad(format!(
                "{} is no complete backup: {NAME} cannot be read: {error}; it is written last, when everything \
                 else is there",
                directory.display()
            )));
        }
    };
    if size > MAX_BYTES {
        return Err(bad(format!("{} has {size} bytes; a manifest has at most {MAX_BYTES}", path.display())));
    }
    let text = tokio::fs::read(&path).await;
    let text = text.map_err(|error| bad(format!("cannot read {}: {error}", path.display())))?;
    let version: Version = parse(&path, &text)?;
    if version.format != FORMAT {
        return Err(bad(format!(
            "{} has format {}; this version of stepwell reads {FORMAT}",
            path.display(),
            version.format
        )));
    }
    let manifest: Manifest = parse(&path, &text)?;
    if manifest.streams.len() > MAX_STREAMS {
        return Err(bad(format!("{} names {} streams", path.display(), manifest.streams.len())));
    }
    let plain = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
            && !name.starts_with('.')
    };
    // They become paths and subjects.
    if let Some(odd) = manifest.streams.iter().find(|copy| !plain(&copy.file) || !plain(&copy.name)) {
        return Err(bad(format!("{} names a file {:?} of {:?}", path.display(), odd.file, odd.name)));
    }
    Ok(manifest)
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, text: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(text)
        .map_err(|error| Failure::new(Exit::Usage, format!("{} is damaged: {error}", path.display())))
}
