//! Runs that are asleep: what each costs, what starting the orchestrator anew costs with them, and how late
//! some of them are woken among the others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::Info;
use stepwell_bench_measure::usage;
use stepwell_shared::subject::Bucket;

use super::http;
use super::load::{Kind, Load};
use super::stage::{ORCHESTRATOR, SERVER, Setting, Stage, by_place, free_address};
use super::wakes;
use super::window::Window;
use crate::arguments::{Arguments, RoleName, RoleOptions};
use crate::payload::Plan;
use crate::report::{Places, Section};

/// How long they sleep: longer than anybody measures.
const SLEEP_MS: u64 = 7 * 24 * 3_600 * 1_000;

/// Before memory and disk are looked at, what was being written is to be written.
const SETTLE: Duration = Duration::from_secs(5);

/// How long it is watched what sleepers cost who do nothing.
const WATCH: Duration = Duration::from_secs(10);

/// How many of others are woken among them, within a second.
const WOKEN: usize = 10_000;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The metric of an orchestrator that says how many runs it knows to wait for a time, with what follows it.
const SLEEPING: &str = "stepwell_timers_pending ";

/// Longest time until an orchestrator that was started works again.
const RESTART_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest time without a further sleeper while they are started.
const STANDSTILL: Duration = Duration::from_secs(60);

pub(crate) async fn measure(arguments: &Arguments, name: &str, sleepers: usize) -> Result<Section> {
    let (sleepers, woken) = if arguments.quick { (sleepers / 20, WOKEN / 10) } else { (sleepers, WOKEN) };
    let mut stage = Stage::set(&Setting::usual(arguments)).await?;
    let mut section = Section::new(name, format!("{sleepers} runs asleep"));

    tokio::time::sleep(SETTLE).await;
    let (memory, disk) = (memory(&stage), usage::disk_bytes(stage.server.folder()));
    let began = Instant::now();
    put_to_sleep(&stage, sleepers).await?;
    let rate = sleepers as f64 / began.elapsed().as_secs_f64();
    eprintln!("{name}: {rate:.0} put to sleep per second");
    section.once("started_per_second", "started and asleep per second", rate, 0);

    tokio::time::sleep(SETTLE).await;
    for (place, after) in self::memory(&stage) {
        let before = memory.iter().find(|(other, _)| *other == place).map_or(0.0, |(_, before)| *before);
        let bytes = (after - before) * 1024.0 * 1024.0 / sleepers as f64;
        match place {
            ORCHESTRATOR => section.once("orchestrator_bytes", "bytes of orchestrator memory each", bytes, 0),
            SERVER => section.once("server_bytes", "bytes of server memory each", bytes, 0),
            _ => {}
        }
    }
    let disk = usage::disk_bytes(stage.server.folder()).saturating_sub(disk) as f64 / sleepers as f64;
    section.once("disk_bytes", "bytes on the disk each", disk, 0);

    let asleep = Window::watch(&stage, &stage.real, if arguments.quick { WATCH / 5 } else { WATCH }).await?;
    for (place, cpu) in &asleep.cpu {
        let percent = cpu / asleep.seconds * 100.0;
        match *place {
            ORCHESTRATOR => {
                section.once("orchestrator_cpu_percent", "% of a core, orchestrator, all asleep", percent, 2)
            }
            SERVER => section.once("server_cpu_percent", "% of a core, server, all asleep", percent, 2),
            _ => {}
        }
    }

    for (how, orderly) in [("stopped", true), ("killed", false)] {
        let restart = restart(&mut stage, orderly).await.with_context(|| format!("after it was {how}"))?;
        eprintln!("{name}: {how}, works again after {:.1} s", restart.works);
        let keys = if orderly {
            ["stop_seconds", "stopped_ready_seconds", "stopped_works_seconds", "stopped_knows_all_seconds"]
        } else {
            ["kill_seconds", "killed_ready_seconds", "killed_works_seconds", "killed_knows_all_seconds"]
        };
        section.once(keys[0], &format!("{how}: s until it was gone"), restart.gone, 2);
        section.once(keys[1], "  s from its start until it is ready", restart.ready, 2);
        section.once(keys[2], "  s until a new run has completed", restart.works, 2);
        section.once(keys[3], "  s until it knows all sleepers", restart.knows_all, 2);
    }

    let wakes = wakes::wake(&stage, "woken", woken, Duration::from_secs(1)).await?;
    wakes.describe(&mut section, &format!("{woken} due in 1 s"));
    section.compare("wake", vec![wakes.window], Vec::new());
    section.peak_memory(stage.peak_memory());
    Ok(section)
}

async fn put_to_sleep(stage: &Stage, sleepers: usize) -> Result<()> {
    let mut load = Load::new(&stage.real.connection, "sleeper").await?;
    for _ in 0..sleepers {
        load.start(Kind::Sleeper, &Plan::sleep(SLEEP_MS)).await?;
    }
    let (mut asleep, mut moved) = (0, Instant::now());
    while asleep < sleepers as u64 {
        let now = entries(stage).await?;
        if now > asleep {
            (asleep, moved) = (now, Instant::now());
        }
        ensure!(moved.elapsed() < STANDSTILL, "{asleep} of {sleepers} are asleep and no more come");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Entries in the bucket `timers`: one for each run that is asleep.
async fn entries(stage: &Stage) -> Result<u64> {
    let connection = &stage.real.connection;
    let stream = Bucket::Timers.stream_name(connection.namespace());
    let info: Info = connection.api(format!("STREAM.INFO.{stream}"), &()).await?;
    Ok(info.state.messages)
}

/// Memory in use by place, in MiB.
fn memory(stage: &Stage) -> Places {
    by_place(stage.pids(&stage.real).into_iter().map(|(place, pid)| (place, usage::memory(pid))))
}

/// Seconds.
struct Restart {
    gone: f64,
    ready: f64,
    works: f64,
    knows_all: f64,
}

/// Ends the orchestrator and starts it again.
async fn restart(stage: &mut Stage, orderly: bool) -> Result<Restart> {
    let asleep = entries(stage).await?;
    let began = Instant::now();
    if orderly {
        stage.real.crew.stop(ORCHESTRATOR);
    } else {
        stage.real.crew.kill(ORCHESTRATOR);
    }
    let gone = began.elapsed().as_secs_f64();
    let address = free_address()?;
    let options = RoleOptions { listen: Some(address), ..stage.real.crew.options().clone() };
    let began = Instant::now();
    stage.real.crew.join_with(ORCHESTRATOR, RoleName::Orchestrator, &options)?;
    let stage = &*stage;
    let seconds = || began.elapsed().as_secs_f64();
    let ready = async {
        while !matches!(http::get(address, "/readyz").await, Ok((200, _))) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        seconds()
    };
    let knows_all = async {
        while sleeping(address).await.is_none_or(|known| known < asleep) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        seconds()
    };
    let works = async {
        let prefix = if orderly { "after-stop" } else { "after-kill" };
        stage.run_through(prefix, 1).await?;
        anyhow::Ok(seconds())
    };
    let all = async { tokio::join!(ready, works, knows_all) };
    let (ready, works, knows_all) =
        tokio::time::timeout(RESTART_TIMEOUT, all).await.context("the orchestrator did not come back")?;
    Ok(Restart { gone, ready, works: works?, knows_all })
}

/// How many runs an orchestrator knows to be asleep.
async fn sleeping(address: SocketAddr) -> Option<u64> {
    let (_, metrics) = http::get(address, "/metrics").await.ok()?;
    metrics.lines().find_map(|line| line.strip_prefix(SLEEPING)?.trim().parse().ok())
}
