//! What can be read from histories about time: how long nothing was recorded after an orchestrator was killed, and
//! how late timers were. Measured on one machine, whose clock is the same for everybody.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwell::WorkflowId;
use stepwell_shared::command::Command;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::subject;

use super::faults::{Fault, Kind};

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many were measured.
    pub count: usize,
    /// Half of them were no more.
    pub p50_ms: u64,
    /// Nine of ten were no more.
    pub p90_ms: u64,
    /// 99 of 100 were no more.
    pub p99_ms: u64,
    /// The largest.
    pub max_ms: u64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |percent: usize| {
            let place = (values.len() * percent).div_ceil(100).saturating_sub(1);
            values.get(place).copied().unwrap_or(0)
        };
        Self { count: values.len(), p50_ms: at(50), p90_ms: at(90), p99_ms: at(99), max_ms: at(100) }
    }
}

/// How long it took after each kill of an orchestrator until something was recorded again in the partition that
/// waited longest.
pub(crate) fn takeovers(
    histories: &BTreeMap<String, Vec<Record>>,
    partitions: u32,
    faults: &[Fault],
) -> Vec<u64> {
    let mut times: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (id, records) in histories {
        let Ok(id) = WorkflowId::new(id.clone()) else { continue };
        let of_partition = times.entry(subject::partition(&id, partitions)).or_default();
        of_partition.extend(records.iter().map(|record| record.at_ms));
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    let kills = faults.iter().filter(|it| it.kind == Kind::OrchestratorKilled && it.proof.is_some());
    let worst = |kill: &Fault| {
        let waits = times.values().filter_map(|times| {
            let next = times.get(times.partition_point(|at_ms| *at_ms <= kill.to_ms))?;
            Some(next - kill.to_ms)
        });
        waits.max()
    };
    kills.filter_map(worst).collect()
}

/// How late each timer was that fired.
pub(crate) fn timer_lags(histories: &BTreeMap<String, Vec<Record>>) -> Vec<u64> {
    let mut lags = Vec::new();
    for records in histories.values() {
        let mut due: BTreeMap<u32, u64> = BTreeMap::new();
        for record in records {
            for event in &record.events {
                if let Event::TimerFired { seq } = event
                    && let Some(due_ms) = due.get(seq)
                {
                    lags.push(record.at_ms.saturating_sub(*due_ms));
                }
            }
            for command in record.turn.iter().flat_map(|turn| &turn.commands) {
                if let Command::StartTimer { seq, delay_ms } = command {
                    due.insert(*seq, record.at_ms + delay_ms);
                }
            }
        }
    }
    lags
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(at_ms: u64, rest: serde_json::Value) -> Record {
        let mut value = json!({"v": 1, "run_id": "r", "index": 1, "at_ms": at_ms, "through": 1});
        value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_takeover_is_as_long_as_the_partition_that_waited_longest() {
        let history =
            |times: &[u64]| times.iter().map(|at_ms| record(*at_ms, json!({"events": []}))).collect();
        let id = |partition: u32| super::super::plan::Plan::metronome(partition, 2, 0).id;
        let histories =
            BTreeMap::from([(id(0), history(&[90, 110, 300])), (id(1), history(&[100, 170, 500]))]);
        let kill = |to_ms: u64, proof: Option<&str>| Fault {
            kind: Kind::OrchestratorKilled,
            victim: String::new(),
            pid: None,
            from_ms: 0,
            to_ms,
            proof: proof.map(str::to_owned),
        };
        let kills = [kill(100, Some("gone")), kill(100, None), kill(400, Some("gone"))];
        assert_eq!(takeovers(&histories, 2, &kills), [70, 100]);
    }

    #[test]
    fn a_timer_is_as_late_as_its_record() {
        let records = vec![
            record(
                10,
                json!({"events": [], "turn": {"commands": [{"start_timer": {"seq": 1, "delay_ms": 5}}], "delivered": 0}}),
            ),
            record(22, json!({"events": [{"timer_fired": {"seq": 1}}]})),
        ];
        assert_eq!(timer_lags(&BTreeMap::from([("w".to_owned(), records)])), [7]);
    }

    #[test]
    fn a_spread_is_that_of_the_values() {
        let spread = Spread::of((1..=200).rev().collect());
        let expected = Spread { count: 200, p50_ms: 100, p90_ms: 180, p99_ms: 198, max_ms: 200 };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}
