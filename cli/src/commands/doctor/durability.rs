//! What failures would cost. Pure: from what was seen to plain words.

use super::report::Durability;
use super::streams::Streams;

/// What failures would cost a deployment like this.
pub(super) fn of(streams: &Streams, orchestrators: usize) -> Durability {
    let process_kill = match orchestrators {
        0 | 1 => {
            "nothing that was acknowledged is lost; runs wait until the orchestrator is started again, and \
             go on without a person when there are two"
        }
        _ => "nothing that was acknowledged is lost; another process goes on within seconds",
    };
    let (node_loss, power_cut) = match streams.replicas {
        0 | 1 => (
            "everything stands still until the NATS node is back, and is lost if its disk is; three \
             replicas on three machines survive it (--replicas 3 when the namespace is created)",
            "on the NATS node it may take what was acknowledged since the last sync to disk, by default up \
             to two minutes of it; `sync_interval: always` in nats-server's jetstream block closes that, \
             at a price",
        ),
        _ => (
            "survived as long as more than half of the replicas are up; the next leader is elected within \
             ten seconds",
            "on one node it costs nothing; on all at once it may take what was acknowledged in the last \
             two minutes, unless nats-server has `sync_interval: always`",
        ),
    };
    Durability { process_kill: process_kill.into(), node_loss: node_loss.into(), power_cut: power_cut.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replica_is_not_praised_and_three_are() {
        assert!(of(&Streams { replicas: 1 }, 1).node_loss.contains("lost if its disk is"));
        assert!(of(&Streams { replicas: 3 }, 2).node_loss.starts_with("survived"));
        assert!(of(&Streams { replicas: 3 }, 2).process_kill.contains("within seconds"));
    }
}
