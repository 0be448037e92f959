//! Whether nobody works at any partition. A lease that names a holder counts as long as the holder lives: its key
//! changes several times in a lease time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stepwell_connection::Connection;
use stepwell_connection::owners::{self, Owners, Source};
use stepwell_connection::provision::Settings;
use stepwell_shared::ids::MemberId;

use super::hold::Holding;
use crate::exit::{Exit, Failure};
use crate::text;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// How many lease times a member's key stays as it is before nobody is in doubt that it is gone.
const DEAD_AFTER_LEASES: u32 = 2;

/// For how many looks nothing may have changed. Orchestrators look at least once a second, and one that looked
/// before the hold was there may still take something.
const QUIET_LOOKS: u32 = 8;

/// The revision of each lease. As long as none has changed, nobody has begun to work.
pub(crate) type Leases = BTreeMap<u32, u64>;

/// Waits until nobody works at a partition any more.
pub(crate) async fn wait(
    connection: &Connection,
    settings: &Settings,
    holding: &Holding,
    lease: Duration,
    timeout: Duration,
) -> Result<Leases, Failure> {
    let until = Instant::now() + timeout;
    let mut seen: BTreeMap<MemberId, (u64, Instant)> = BTreeMap::new();
    let (mut last, mut quiet) = (None, 0);
    loop {
        holding.check()?;
        let now = Instant::now();
        let owners = read(connection, settings).await?;
        for (id, member) in &owners.members {
            let entry = seen.entry(id.clone()).or_insert((member.revision, now));
            if entry.0 != member.revision {
                *entry = (member.revision, now);
            }
        }
        let lives = |id: &MemberId| {
            owners.members.contains_key(id)
                && seen.get(id).is_some_and(|(_, since)| since.elapsed() < lease * DEAD_AFTER_LEASES)
        };
        let leases = revisions(&owners);
        let working = working(&owners, lives);
        let still = working.is_empty() && last.as_ref() == Some(&leases);
        quiet = if still { quiet + 1 } else { 0 };
        if quiet >= QUIET_LOOKS {
            return Ok(leases);
        }
        if Instant::now() >= until {
            return Err(Failure::new(Exit::Timeout, late(&owners, &working, timeout)));
        }
        last = Some(leases);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Makes sure that nobody has begun to work since.
pub(crate) async fn still(
    connection: &Connection,
    settings: &Settings,
    before: &Leases,
) -> Result<(), Failure> {
    let now = revisions(&read(connection, settings).await?);
    match (0..settings.partitions).find(|partition| now.get(partition) != before.get(partition)) {
        None => Ok(()),
        Some(partition) => {
            let text = format!(
                "an orchestrator took partition {partition} while the streams were copied, so this is no backup; \
                 are all orchestrators of this version, and do all have the same --lease?"
            );
            Err(Failure::new(Exit::Failure, text))
        }
    }
}

async fn read(connection: &Connection, settings: &Settings) -> Result<Owners, Failure> {
    let owners = owners::read(connection, settings.partitions, Source::Leader).await;
    owners.map_err(|error| Failure::new(Exit::Failure, format!("the bucket owners cannot be read: {error}")))
}

fn revisions(owners: &Owners) -> Leases {
    owners.leases.iter().map(|(partition, lease)| (*partition, lease.revision)).collect()
}

/// The partitions at which somebody works, by who does. One whose lease cannot be read counts as such.
fn working(owners: &Owners, lives: impl Fn(&MemberId) -> bool) -> BTreeMap<Option<MemberId>, Vec<u32>> {
    let mut working: BTreeMap<Option<MemberId>, Vec<u32>> = BTreeMap::new();
    for (partition, lease) in &owners.leases {
        match lease.value.as_ref().map(|lease| &lease.holder) {
            None => working.entry(None).or_default().push(*partition),
            Some(Some(holder)) if lives(holder) => {
                working.entry(Some(holder.clone())).or_default().push(*partition);
            }
            Some(Some(_) | None) => {}
        }
    }
    working
}

fn late(owners: &Owners, working: &BTreeMap<Option<MemberId>, Vec<u32>>, timeout: Duration) -> String {
    let mut named = Vec::new();
    for (id, partitions) in working {
        let partitions: Vec<String> = partitions.iter().map(u32::to_string).collect();
        let partitions = partitions.join(", ");
        let member = id.as_ref().and_then(|id| owners.members.get(id)?.value.as_ref());
        let who = match (id, member) {
            (Some(id), Some(member)) => {
                format!("process {} on {} ({id})", member.process, text::cut(&member.host, 60))
            }
            (Some(id), None) => format!("the orchestrator {id}"),
            (None, _) => "an orchestrator of another version".to_owned(),
        };
        named.push(format!("{who} has partition {partitions}"));
    }
    if named.is_empty() {
        named.push("nobody has one now, but the leases change again and again".to_owned());
    }
    format!(
        "the orchestrators did not give their partitions back within {} s: {}. Nothing was copied; they go on. \
         Look at their logs, or end them and try again",
        timeout.as_secs(),
        named.join("; ")
    )
}
