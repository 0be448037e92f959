//! One look at everything that could grow.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::stream::Info;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stepwell_bench_measure::usage;

use super::super::stage::{Stage, by_place};
use super::mixture::Counts;

/// What a number counts, which says how much more of it is no growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measure {
    /// Workflows in flight.
    InFlight,
    /// MiB in memory.
    Memory,
    /// Open files and sockets.
    OpenFiles,
    /// Messages of a stream.
    Messages,
    /// Bytes of a stream.
    Bytes,
    /// Consumers of a stream.
    Consumers,
}

/// Numbers by what they are of.
pub(super) type Look = BTreeMap<(Measure, String), f64>;

/// The same numbers again and again.
#[derive(Debug, Default)]
pub(super) struct Series {
    looks: Vec<Look>,
}

impl Series {
    pub(super) fn add(&mut self, look: Look) {
        self.looks.push(look);
    }

    /// What the numbers are of, and their values in turn. One that was missing once is 0 there.
    pub(super) fn all(&self) -> impl Iterator<Item = (Measure, &str, Vec<f64>)> {
        let keys: std::collections::BTreeSet<_> = self.looks.iter().flat_map(BTreeMap::keys).collect();
        keys.into_iter().map(|key| {
            let values = self.looks.iter().map(|look| look.get(key).copied().unwrap_or_default());
            (key.0, key.1.as_str(), values.collect())
        })
    }

    /// The last look in some lines.
    pub(super) fn last_as_text(&self, elapsed: Duration) -> String {
        let mut by_measure: BTreeMap<Measure, Vec<String>> = BTreeMap::new();
        for ((measure, of), value) in self.looks.last().into_iter().flatten() {
            by_measure.entry(*measure).or_default().push(format!("{of} {value:.0}"));
        }
        let lines = by_measure
            .iter()
            .map(|(measure, values)| format!("  {:<14}{}", measure.name(), values.join(", ")));
        let lines: Vec<String> = lines.collect();
        format!("after {:.1} min\n{}", elapsed.as_secs_f64() / 60.0, lines.join("\n"))
    }
}

impl Serialize for Series {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.all().map(|(measure, of, values)| json!({ "measure": measure, "of": of, "values": values })),
        )
    }
}

impl Measure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InFlight => "in flight",
            Self::Memory => "memory MiB",
            Self::OpenFiles => "open files",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Consumers => "consumers",
        }
    }
}

/// A page of the list of streams.
#[derive(Deserialize)]
struct Streams {
    streams: Vec<Info>,
}

/// Looks at all processes and streams.
pub(super) async fn look(stage: &Stage, counts: Counts) -> Result<Look> {
    let mut look = Look::new();
    look.insert((Measure::InFlight, "workflows".into()), (counts.started - counts.closed) as f64);
    let pids = stage.pids(&stage.real);
    for (place, memory) in by_place(pids.iter().map(|(place, pid)| (*place, usage::memory(*pid)))) {
        look.insert((Measure::Memory, place.into()), memory);
    }
    let files = |pid| usage::open_files(pid).map(|files| files as f64);
    for (place, files) in by_place(pids.iter().map(|(place, pid)| (*place, files(*pid)))) {
        look.insert((Measure::OpenFiles, place.into()), files);
    }
    // A namespace has nine streams, and a page of the list many more.
    let Streams { streams } = stage.real.connection.api("STREAM.LIST".to_owned(), &json!({})).await?;
    for Info { config, state, .. } in streams {
        let name = config.name.trim_start_matches("KV_").trim_start_matches("STEPWELL_bench_").to_owned();
        look.insert((Measure::Messages, name.clone()), state.messages as f64);
        look.insert((Measure::Bytes, name.clone()), state.bytes as f64);
        look.insert((Measure::Consumers, name), state.consumer_count as f64);
    }
    Ok(look)
}
