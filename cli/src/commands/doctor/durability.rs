//! What failures would cost. Pure: from what was seen to plain words.

use super::monitor::Sync;
use super::report::Durability;
use super::streams::Streams;
use crate::times::{millis, span};

/// Whatever is not said of it: nats-server syncs its files this often.
const DEFAULT_SYNC: &str = "two minutes";

/// What failures would cost a deployment like this.
pub(super) fn of(streams: &Streams, orchestrators: usize, sync: Sync) -> Durability {
    let process_kill = match orchestrators {
        0 => "nothing that was acknowledged is lost, and nothing goes on: no orchestrator is there",
        1 => {
            "nothing that was acknowledged is lost; runs wait until the orchestrator is started again, and \
             go on without a person when there are two"
        }
        _ => "nothing that was acknowledged is lost; another process goes on within seconds",
    };
    Durability {
        process_kill: process_kill.into(),
        node_loss: node_loss(streams),
        power_cut: power_cut(streams, sync),
    }
}

fn node_loss(streams: &Streams) -> String {
    let Streams { replicas, missing } = *streams;
    if replicas < 2 {
        return "everything stands still until the NATS node is back, and is lost if its disk is; three \
                replicas on three machines survive it (--replicas 3 when the namespace is created)"
            .into();
    }
    let majority = replicas / 2 + 1;
    if replicas.saturating_sub(missing + 1) < majority {
        return format!(
            "right now everything would stand still: of {replicas} replicas {missing} are not up to date, and \
             {majority} are needed; nothing is lost as long as one of the up-to-date disks is there"
        );
    }
    format!(
        "survived: {majority} of {replicas} replicas are enough; the next leader is elected within ten seconds. \
         Whether the replicas lie in different failure domains cannot be seen from here"
    )
}

fn power_cut(streams: &Streams, sync: Sync) -> String {
    let window = match sync {
        Sync::Always => {
            return "nothing that was acknowledged is lost: every server that was asked syncs each write, as long \
                    as its disk keeps what it says it has written"
                .into();
        }
        Sync::Every(interval) => format!("in the last {}", span(millis(interval))),
        Sync::Unknown => {
            format!(
                "since the last sync to disk, by default up to {DEFAULT_SYNC} of it (not visible from here)"
            )
        }
    };
    let remedy = "`sync_interval: always` in nats-server's jetstream block closes that, at a price";
    if streams.replicas < 2 {
        format!("on the NATS node it may take what was acknowledged {window}; {remedy}")
    } else {
        format!(
            "on one node it costs nothing as long as the others have what it lost; on all at once it may take \
             what was acknowledged {window}; {remedy}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn streams(replicas: usize, missing: usize) -> Streams {
        Streams { replicas, missing }
    }

    #[test]
    fn one_replica_is_not_praised_and_three_are() {
        assert!(node_loss(&streams(1, 0)).contains("lost if its disk is"));
        assert!(node_loss(&streams(3, 0)).starts_with("survived: 2 of 3"));
        assert!(node_loss(&streams(3, 1)).starts_with("right now everything would stand still"));
        assert!(node_loss(&streams(5, 1)).starts_with("survived: 3 of 5"));
    }

    #[test]
    fn a_power_cut_costs_what_was_not_synced() {
        assert!(power_cut(&streams(1, 0), Sync::Unknown).contains("not visible from here"));
        assert!(power_cut(&streams(1, 0), Sync::Every(Duration::from_secs(30))).contains("in the last 30s"));
        assert!(power_cut(&streams(3, 0), Sync::Always).starts_with("nothing that was acknowledged"));
    }

    #[test]
    fn a_killed_process_costs_time_only() {
        assert!(of(&streams(3, 0), 2, Sync::Unknown).process_kill.contains("within seconds"));
        assert!(of(&streams(1, 0), 0, Sync::Unknown).process_kill.contains("no orchestrator"));
    }
}
