//! Clocks that jump while an orchestrator runs: nothing fires early, nothing is lost. The jumps are made with
//! libfaketime, which lies to the process about the wall clock and leaves the monotonic one alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use stepwell_tests::cluster::Cluster;
use stepwell_tests::http;
use stepwell_tests::patience::eventually;
use stepwell_tests::workflows::waiting::naps;

use crate::stage::{Cache, PROGRAM, Stage, leave_out, result, together};

/// How long the runs sleep: longer than it takes until the clocks are compared after a jump, twice.
const NAP: Duration = Duration::from_secs(25);

/// The library, where Debian has it. `None` when it is not installed and need not be.
fn libfaketime() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    let paths = folders.iter().map(|folder| PathBuf::from(folder).join("faketime/libfaketime.so.1"));
    let found = paths.into_iter().find(|path| path.is_file());
    if found.is_none() {
        leave_out("libfaketime is not installed (Debian package `faketime`)");
    }
    found
}

/// A jump by `offset` seconds while runs sleep, and back.
async fn jump(name: &str, offset: i64) {
    let Some(library) = libfaketime() else { return };
    let cluster = Cluster::start(name, PROGRAM).await;
    let offsets = cluster.server.store_dir().with_extension("clock");
    std::fs::write(&offsets, "+0").expect("the offset can be written");
    let address = http::free_address();
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let lies = [
        ("LD_PRELOAD".to_owned(), text(&library)),
        ("FAKETIME_TIMESTAMP_FILE".to_owned(), text(&offsets)),
        ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ];
    let orchestrator = cluster.orchestrator_in(&["--listen", &address], &lies);
    cluster.answered().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let nap = vec![u64::try_from(NAP.as_millis()).expect("it is short")];
    let began = Instant::now();
    let sleepers = together((0..8).map(|number| {
        let (client, nap) = (&cluster.client, nap.clone());
        async move { client.start(naps, format!("s{number}"), nap).await.expect("it starts") }
    }))
    .await;
    std::fs::write(&offsets, format!("{offset:+}")).expect("the offset can be written");
    let metric = async |name: &str| {
        let (_, body) = http::get(&address, "/metrics").await?;
        http::metric(&body, name, &[])
    };
    let half = offset.unsigned_abs() as f64 * 500.0;
    eventually("the jump is seen", || async {
        metric("stepwell_server_clock_ahead_milliseconds").await.filter(|ahead| ahead.abs() > half)
    })
    .await;
    for sleeper in &sleepers {
        result(sleeper).await;
    }
    assert!(began.elapsed() >= NAP, "they woke after {:?}", began.elapsed());
    assert_eq!(metric("stepwell_fenced_writes_total").await, Some(0.0), "it kept what it owns");
    assert_eq!(metric("stepwell_partitions_owned").await, Some(16.0));
    std::fs::remove_file(&offsets).expect("the offset can be removed");
    Stage { cluster, orchestrator, worker }.finish().await;
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_ahead_wakes_nobody() {
    jump("hour-ahead", 3_600).await;
}

#[tokio::test]
async fn a_clock_that_jumps_a_day_ahead_wakes_nobody() {
    jump("day-ahead", 24 * 3_600).await;
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_back_keeps_nobody_asleep() {
    jump("hour-back", -3_600).await;
}
