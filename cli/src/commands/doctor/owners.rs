//! Who shares the partitions, and whether each has somebody who works at it. Whether a member lives shows only in
//! that its key changes, so this looks for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;
use stepwell_connection::owners::{self, Owners, Source};
use stepwell_connection::provision::Settings;
use stepwell_connection::{Connection, JetStreamError, leader};
use stepwell_shared::ids::MemberId;
use stepwell_shared::subject::Stream;

use super::report::Report;
use crate::text;

/// How long a key may stay as it is before its writer is taken for dead: the default lease, and some more.
const PATIENCE: Duration = Duration::from_secs(4);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest wait for the first look. Without the permission there is no answer.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Most partitions that are named in a sentence.
const NAMED: usize = 8;

/// What moved while it was looked at.
struct Watched {
    owners: Owners,
    alive: BTreeSet<MemberId>,
    held: bool,
}

/// Looks at members, leases, hold and checkpoints.
pub(super) async fn check(connection: &Connection, settings: &Settings, report: &mut Report) {
    let partitions = settings.partitions;
    let watched = match watch(connection, partitions).await {
        Ok(watched) => watched,
        Err(error) => {
            return report.note(
                "partitions",
                format!("unknown: who owns them cannot be read: {error}"),
                "docs/operations.md says which permissions that takes",
            );
        }
    };
    members(&watched, report);
    leases(&watched, partitions, report);
    hold(&watched, report);
    if let Err(error) = checkpoints(connection, settings, report).await {
        report.note("checkpoints", format!("unknown: they cannot be read: {error}"), "");
    }
}

async fn watch(connection: &Connection, partitions: u32) -> Result<Watched, JetStreamError> {
    let read = owners::read(connection, partitions, Source::Nearest);
    let first = tokio::time::timeout(FIRST_LOOK, read).await.map_err(|_| {
        let complaint = connection.complaint().unwrap_or_else(|| "no answer".into());
        JetStreamError::Other(complaint)
    })??;
    let until = Instant::now() + PATIENCE;
    let (mut alive, mut held) = (BTreeSet::new(), false);
    let mut owners = first.clone();
    loop {
        let quiet = |id: &&MemberId| !alive.contains(*id);
        if (owners.members.keys().find(quiet).is_none() && (held || owners.hold.is_none()))
            || Instant::now() >= until
        {
            return Ok(Watched { owners, alive, held });
        }
        tokio::time::sleep(PAUSE).await;
        owners = owners::read(connection, partitions, Source::Nearest).await?;
        for (id, seen) in &owners.members {
            // One that was not there before has just come.
            if first.members.get(id).is_none_or(|before| before.revision < seen.revision) {
                alive.insert(id.clone());
            }
        }
        held |= owners
            .hold
            .as_ref()
            .is_some_and(|seen| first.hold.as_ref().is_none_or(|before| before.revision < seen.revision));
    }
}

fn members(watched: &Watched, report: &mut Report) {
    let Watched { owners, alive, .. } = watched;
    let mut details = Vec::new();
    for (id, seen) in &owners.members {
        let has = owners.leases.values().filter(|lease| holder(lease).as_ref() == Some(id)).count();
        let lives = alive.contains(id);
        let place = seen.value.as_ref().map_or("of another version".to_owned(), |member| {
            format!("process {} on {}", member.process, text::cut(&member.host, 60))
        });
        let name = format!("member {id}");
        let leaving = seen.value.as_ref().is_some_and(|member| member.leaving);
        let doing = if leaving { ", ending" } else { "" };
        let found = format!("{place}{doing}, {}", text::count(has as u64, "partition"));
        if lives {
            report.ok(&name, found);
        } else {
            report.note(&name, format!("{found}; it has gone silent"), "others remove its key after a while");
        }
        details.push(json!({ "id": id, "alive": lives, "leaving": leaving, "partitions": has }));
        report.details(details.pop().unwrap_or_default());
    }
}

fn leases(watched: &Watched, partitions: u32, report: &mut Report) {
    let Watched { owners, alive, held } = watched;
    let mut by_owner: BTreeMap<&MemberId, Vec<u32>> = BTreeMap::new();
    let mut without = Vec::new();
    for partition in 0..partitions {
        let lease = owners.leases.get(&partition).and_then(|seen| seen.value.as_ref());
        match lease.and_then(|lease| lease.holder.as_ref()) {
            Some(holder) if alive.contains(holder) => by_owner.entry(holder).or_default().push(partition),
            Some(_) | None => without.push(partition),
        }
    }
    let owned = partitions as usize - without.len();
    let found =
        format!("{owned} of {partitions} have an owner, {}", text::count(by_owner.len() as u64, "owner"));
    if without.is_empty() {
        report.ok("partitions", found);
    } else {
        let named: Vec<String> = without.iter().take(NAMED).map(u32::to_string).collect();
        let more = if without.len() > NAMED { ", …" } else { "" };
        let found = format!("{found}; without one: {}{more}", named.join(", "));
        if *held {
            report.note("partitions", found, "they wait for the end of the hold, see below");
        } else if alive.is_empty() {
            report.problem("partitions", found, "their runs stand still; start an orchestrator");
        } else {
            let advice =
                "their runs stand still; it is in order for some seconds after an orchestrator came or went";
            report.warning("partitions", found, advice);
        }
    }
    let owners: BTreeMap<String, &Vec<u32>> =
        by_owner.iter().map(|(id, has)| (id.to_string(), has)).collect();
    report.details(json!({ "partitions": partitions, "owners": owners, "without_owner": without }));
}

fn hold(watched: &Watched, report: &mut Report) {
    let Some(seen) = &watched.owners.hold else { return };
    let reason = seen.value.as_ref().map_or("an unknown reason", |hold| &hold.reason);
    let reason = text::cut(reason, 120);
    if watched.held {
        let found = format!("no orchestrator works now: {reason}");
        report.warning("hold", found, "it is over when it is not renewed any more");
    } else {
        report.note(
            "hold",
            format!("somebody left one behind: {reason}"),
            "nobody heeds it; the next backup takes it over",
        );
    }
}

/// A stream that ends before what was already seen in it has lost what was acknowledged.
async fn checkpoints(
    connection: &Connection,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), JetStreamError> {
    // First these, because the streams grow.
    let checkpoints = owners::checkpoints(connection, settings.partitions).await?;
    let seen_in_events = checkpoints.values().map(|checkpoint| checkpoint.sequence).max().unwrap_or(0);
    let mut seen = vec![(Stream::Events, seen_in_events)];
    for shard in settings.shards.all() {
        let there =
            checkpoints.iter().filter(|(partition, _)| settings.shards.of_partition(**partition) == shard);
        let last = there.map(|(_, checkpoint)| checkpoint.history).max().unwrap_or(0);
        seen.push((Stream::History(shard), last));
    }
    let mut sound = true;
    for (stream, seen) in seen {
        let name = stream.name(connection.namespace());
        let last = leader::state(connection, &name).await?.last_sequence;
        if last < seen {
            sound = false;
            let found = format!(
                "{name} ends at {last}, and {seen} was already seen in it: acknowledged messages are gone"
            );
            let advice = "orchestrators halt. Restore a backup, or see \"The orchestrator does not start\" in docs/errors.md";
            report.problem("checkpoints", found, advice);
        }
    }
    if sound {
        let count = text::count(checkpoints.len() as u64, "partition");
        report.ok("checkpoints", format!("{count} with one, none beyond the end of a stream"));
    }
    Ok(())
}

fn holder(lease: &owners::Seen<stepwell_shared::ownership::Lease>) -> Option<MemberId> {
    lease.value.as_ref()?.holder.clone()
}
