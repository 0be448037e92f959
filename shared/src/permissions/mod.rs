//! What each kind of process must be allowed at a NATS server, and no more: subjects that it publishes to and
//! subjects that it hears. Printed by `stepwell auth print`; the tests' servers run with what is printed.
//!
//! It says what to allow. Who is who, a server decides.

mod forms;
mod table;

pub use forms::{nsc, nsc_of_all, server, server_of_all};

use crate::ids::{Name, Namespace};
use crate::limits::MAX_CHUNKS;
use crate::shard::{Shard, Shards};
use crate::subject::{Bucket, Stream};

/// Most messages with which one request may be answered: chunks of one answer.
pub const MAX_ANSWERS: usize = MAX_CHUNKS;

/// How long after a request it may be answered, in seconds. The longest is `api.result`, which waits for 60.
pub const ANSWER_SECONDS: u64 = 120;

/// The kinds of processes and people that log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Starts workflows and talks to them.
    Client,
    /// Works on some queues.
    Worker,
    /// The command line, `stepwell doctor` included.
    Operator,
    /// The command line, without anything that changes something.
    ReadOnly,
    /// Makes backups. It reads everything, and can stop everything.
    Backup,
    /// Makes a namespace of a backup, where there is none.
    Restore,
    /// An orchestrator.
    Orchestrator,
}

/// Something that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The subject, or a pattern of subjects.
    pub subject: String,
    /// What it is for, for a person.
    pub purpose: &'static str,
}

/// What one user is allowed. Everything else is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// What it may publish to.
    pub publish: Vec<Allowed>,
    /// What it may hear.
    pub subscribe: Vec<Allowed>,
    /// Whether it may answer what it was asked: up to [`MAX_ANSWERS`] messages within [`ANSWER_SECONDS`].
    pub answers: bool,
}

/// A user of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name. Its inboxes begin with `_INBOX.<name>`.
    pub name: Name,
    /// The role.
    pub role: Role,
    /// The queues of a worker; others have none.
    pub queues: Vec<Name>,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Orchestrator,
        Self::Client,
        Self::Worker,
        Self::Operator,
        Self::ReadOnly,
        Self::Backup,
        Self::Restore,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Operator => "operator",
            Self::ReadOnly => "read-only",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Orchestrator => "orchestrator",
        }
    }

    fn lines(self) -> table::Lines {
        match self {
            Self::Client => table::CLIENT,
            Self::Worker => table::WORKER,
            Self::Operator => table::OPERATOR,
            Self::ReadOnly => table::READ_ONLY,
            Self::Backup => table::BACKUP,
            Self::Restore => table::RESTORE,
            Self::Orchestrator => table::ORCHESTRATOR,
        }
    }
}

impl User {
    /// A user that is not a worker, named as its role is.
    ///
    /// # Panics
    /// Never: every role's name is a name.
    #[must_use]
    pub fn of(role: Role) -> Self {
        let name = Name::new(role.name()).expect("a role's name is a name");
        Self { name, role, queues: Vec::new() }
    }

    /// A worker of one queue.
    ///
    /// # Errors
    /// When the queue's name is too long to have something put before it.
    pub fn worker(queue: &Name) -> Result<Self, crate::ids::InvalidId> {
        let name = Name::new(format!("worker-{queue}"))?;
        Ok(Self { name, role: Role::Worker, queues: vec![queue.clone()] })
    }

    /// A user of each role, in the order of [`Role::ALL`], and of workers one for each queue.
    ///
    /// # Errors
    /// As [`User::worker`].
    pub fn of_each(queues: &[Name]) -> Result<Vec<Self>, crate::ids::InvalidId> {
        let mut users = Vec::new();
        for role in Role::ALL {
            match role {
                Role::Worker => {
                    for queue in queues {
                        users.push(Self::worker(queue)?);
                    }
                }
                Role::Client
                | Role::Operator
                | Role::ReadOnly
                | Role::Backup
                | Role::Restore
                | Role::Orchestrator => users.push(Self::of(role)),
            }
        }
        Ok(users)
    }

    /// The prefix of the user's inboxes, for `NATS_INBOX_PREFIX`.
    #[must_use]
    pub fn inbox_prefix(&self) -> String {
        format!("_INBOX.{}", self.name)
    }

    /// What it must be allowed in a `namespace` with so many `shards`.
    #[must_use]
    pub fn permissions(&self, namespace: &Namespace, shards: Shards) -> Permissions {
        let lines = self.role.lines();
        let filled = |lines: &[table::Line]| {
            let filled = lines.iter().flat_map(|line| {
                // What is the same for all shards is there once.
                let of =
                    if SHARDED.iter().any(|place| line.0.contains(place)) { shards } else { Shards::ONE };
                of.all().flat_map(move |shard| self.filled(namespace, shard, line))
            });
            filled.collect::<Vec<Allowed>>()
        };
        Permissions {
            publish: filled(lines.publish),
            subscribe: filled(lines.subscribe),
            answers: lines.answers,
        }
    }

    fn filled(&self, namespace: &Namespace, shard: Shard, (pattern, purpose): &table::Line) -> Vec<Allowed> {
        let mut subject = pattern.replace("{namespace}", namespace.as_str());
        subject = subject.replace("{user}", self.name.as_str());
        subject = subject.replace("{.shard}", &shard.name(String::new(), '.'));
        let streams = [
            ("{EVENTS}", Stream::Events),
            ("{HISTORY}", Stream::History(shard)),
            ("{TASKS}", Stream::Tasks(shard)),
            ("{REJECTED}", Stream::Rejected),
        ];
        for (place, stream) in streams {
            subject = subject.replace(place, &stream.name(namespace));
        }
        for (place, bucket) in BUCKETS {
            subject = subject.replace(place, &bucket.name(namespace));
        }
        let allowed = |subject| Allowed { subject, purpose };
        if subject.contains("{queue}") {
            let of_queue = |queue: &Name| allowed(subject.replace("{queue}", queue.as_str()));
            return self.queues.iter().map(of_queue).collect();
        }
        vec![allowed(subject)]
    }
}

/// What is another one in each shard.
const SHARDED: [&str; 3] = ["{HISTORY}", "{TASKS}", "{.shard}"];

const BUCKETS: [(&str, Bucket); 5] = [
    ("{state}", Bucket::State),
    ("{timers}", Bucket::Timers),
    ("{idempotency}", Bucket::Idempotency),
    ("{owners}", Bucket::Owners),
    ("{heartbeats}", Bucket::Heartbeats),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each role, and a worker without a queue.
    fn users() -> Vec<User> {
        let mut users = User::of_each(&[Name::new("documents").unwrap()]).unwrap();
        users.push(User::of(Role::Worker));
        users
    }

    #[test]
    fn nothing_is_left_to_be_filled_in() {
        let namespace = Namespace::default();
        for user in users() {
            let permissions = user.permissions(&namespace, Shards::try_from(2).unwrap());
            for allowed in permissions.publish.iter().chain(&permissions.subscribe) {
                assert!(!allowed.subject.contains(['{', '}']), "{allowed:?}");
            }
            assert_eq!(permissions.subscribe[0].subject, format!("_INBOX.{}.>", user.name));
        }
    }

    #[test]
    fn the_owners_bucket_is_for_orchestrators_and_copies_only() {
        for user in users() {
            // Whole copies of it go through the hands of these two.
            let (reading, writing) = match user.role {
                Role::Orchestrator => continue,
                Role::Backup => (true, Some("hold")),
                Role::Restore => (true, Some("provisioned")),
                Role::Client | Role::Worker | Role::Operator | Role::ReadOnly => (false, None),
            };
            for allowed in user.permissions(&Namespace::default(), Shards::ONE).publish {
                let subject = &allowed.subject;
                let Some((of, key)) = subject.split_once("STEPWELL_default_owners") else { continue };
                let harmless = ["settings", "hold", "member.*", "lease.*", "checkpoint.*"];
                let key = key.rsplit_once("_owners.").map_or(key.trim_start_matches('.'), |(_, key)| key);
                let fine = match of {
                    "$JS.API.STREAM.INFO.KV_" => true,
                    "$JS.API.DIRECT.GET.KV_" => reading || harmless.contains(&key),
                    "$KV." => writing == Some(key),
                    "$JS.API.STREAM.PURGE.KV_" => reading,
                    "$JS.API.STREAM.MSG.GET.KV_" | "$JS.API.STREAM.SNAPSHOT.KV_" | "$JS.SNAPSHOT.ACK.KV_" => {
                        user.role == Role::Backup
                    }
                    "$JS.API.STREAM.RESTORE.KV_" | "$JS.SNAPSHOT.RESTORE.KV_" => user.role == Role::Restore,
                    _ => false,
                };
                assert!(fine, "{user:?}: {subject}");
            }
        }
    }

    #[test]
    fn nobody_deletes_or_changes_streams_and_only_two_copy_them() {
        for user in users() {
            for Allowed { subject, .. } in user.permissions(&Namespace::default(), Shards::ONE).publish {
                for never in ["STREAM.DELETE", "STREAM.UPDATE", "STREAM.MSG.DELETE"] {
                    assert!(!subject.contains(never), "{user:?}: {subject}");
                }
                for (copying, role) in [("STREAM.SNAPSHOT", Role::Backup), ("RESTORE", Role::Restore)] {
                    assert!(!subject.contains(copying) || user.role == role, "{user:?}: {subject}");
                }
            }
        }
    }
}
