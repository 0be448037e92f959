//! The kinds of faults, and what is written down of each that was injected.

use std::collections::BTreeMap;

use serde::Serialize;

/// How often a fault of each wanted kind must have been proved; fewer prove too little.
pub(crate) const PROVED_AT_LEAST: u32 = 2;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// SIGKILL.
    OrchestratorKilled,
    /// SIGKILL.
    WorkerKilled,
    /// SIGKILL of one node of the servers, and a restart.
    ServerKilled,
    /// SIGKILL of the node that leads HISTORY, and a restart.
    LeaderKilled,
    /// SIGKILL of all nodes at the same moment, and their restart.
    AllServersKilled,
    /// SIGSTOP for twice the lease, then SIGCONT: a zombie.
    OrchestratorPaused,
    /// The same of a worker.
    WorkerPaused,
    /// The same of a node of the servers.
    ServerPaused,
    /// The link to the servers is cut, half open or slow.
    OrchestratorParted,
    /// The same of a worker.
    WorkerParted,
    /// The links of one node to the others are.
    NodeParted,
    /// The consumer of a queue is deleted.
    ConsumerDeleted,
    /// SIGTERM, and another process takes its place.
    OrchestratorRestarted,
    /// The same of a worker.
    WorkerRestarted,
    /// A process more, or one less.
    FleetResized,
}

impl Kind {
    /// Those that make sense with so many nodes.
    #[must_use]
    pub fn all(nodes: usize) -> Vec<Self> {
        let mut all = vec![
            Self::OrchestratorKilled,
            Self::WorkerKilled,
            Self::OrchestratorPaused,
            Self::WorkerPaused,
            Self::ServerPaused,
            Self::OrchestratorParted,
            Self::WorkerParted,
            Self::ConsumerDeleted,
            Self::OrchestratorRestarted,
            Self::WorkerRestarted,
            Self::FleetResized,
            Self::ServerKilled,
        ];
        if nodes > 1 {
            all.extend([Self::LeaderKilled, Self::AllServersKilled, Self::NodeParted]);
        }
        all
    }

    /// The name in JSON and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OrchestratorKilled => "orchestrator_killed",
            Self::WorkerKilled => "worker_killed",
            Self::ServerKilled => "server_killed",
            Self::LeaderKilled => "leader_killed",
            Self::AllServersKilled => "all_servers_killed",
            Self::OrchestratorPaused => "orchestrator_paused",
            Self::WorkerPaused => "worker_paused",
            Self::ServerPaused => "server_paused",
            Self::OrchestratorParted => "orchestrator_parted",
            Self::WorkerParted => "worker_parted",
            Self::NodeParted => "node_parted",
            Self::ConsumerDeleted => "consumer_deleted",
            Self::OrchestratorRestarted => "orchestrator_restarted",
            Self::WorkerRestarted => "worker_restarted",
            Self::FleetResized => "fleet_resized",
        }
    }
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Which kind.
    pub kind: Kind,
    /// Who, and how.
    pub victim: String,
    /// The process, if it is one.
    pub pid: Option<u32>,
    /// When it began, in milliseconds since 1970.
    pub from_ms: u64,
    /// When it was over: healed, continued, or, for what was killed, dead.
    pub to_ms: u64,
    /// What proves that it happened; `None` when nothing does.
    pub proof: Option<String>,
}

/// How many faults of each kind were proved, and how many were injected.
#[must_use]
pub(crate) fn by_kind(faults: &[Fault]) -> BTreeMap<Kind, (u32, u32)> {
    let mut counts: BTreeMap<Kind, (u32, u32)> = BTreeMap::new();
    for fault in faults {
        let (proved, all) = counts.entry(fault.kind).or_default();
        *proved += u32::from(fault.proof.is_some());
        *all += 1;
    }
    counts
}

/// The wanted kinds of which too few were proved.
#[must_use]
pub(crate) fn too_few(wanted: &[Kind], faults: &[Fault]) -> Vec<Kind> {
    let counts = by_kind(faults);
    let few = |kind: &&Kind| counts.get(kind).is_none_or(|(proved, _)| *proved < PROVED_AT_LEAST);
    wanted.iter().filter(few).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_proved_counts() {
        let fault = |proof: Option<&str>| Fault {
            kind: Kind::WorkerKilled,
            victim: "worker 1".into(),
            pid: Some(1),
            from_ms: 1,
            to_ms: 2,
            proof: proof.map(str::to_owned),
        };
        let wanted = [Kind::WorkerKilled, Kind::ServerKilled];
        let one = [fault(Some("gone")), fault(None)];
        assert_eq!(too_few(&wanted, &one), wanted);
        let two = [fault(Some("gone")), fault(Some("gone"))];
        assert_eq!(too_few(&wanted, &two), [Kind::ServerKilled]);
        assert_eq!(by_kind(&one)[&Kind::WorkerKilled], (1, 2));
    }
}
