//! One turn of a peer: each workload once.

use std::time::{Duration, Instant};

use anyhow::Result;
use stepwell_bench_measure::statistics::Samples;

use crate::arguments::{Options, Workload};
use crate::load::{Load, run_one};
use crate::payload::Plan;
use crate::peer::{Client, Peer, Workflow};
use crate::report::{Figure, Turn};

/// Steps of each of many workflows in flight.
const STEPS: u32 = 10;

/// Steps of the one workflow in flight.
const STEPS_OF_ONE: u32 = 50;

/// Steps that one workflow joins.
const FAN_OUT: u32 = 1_000;

/// How often it does; the first time is not counted.
const FAN_OUTS: usize = 4;

/// How long a load runs before it is measured, at least; every lane has begun anew by then, too.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long steps of many are measured.
const WINDOW: Duration = Duration::from_secs(6);

/// The same for one in flight.
const WINDOW_OF_ONE: Duration = Duration::from_secs(4);

/// How long signals are measured, at least; every lane ends twice, too.
const WINDOW_OF_SIGNALS: Duration = Duration::from_secs(4);

/// What was seen between two moments.
struct Window {
    seconds: f64,
    steps: u64,
    gaps: Samples,
    cpu_seconds: Option<f64>,
}

/// Measures what is asked for.
pub(crate) async fn turn<C: Client>(peer: &mut Peer<C>, options: &Options) -> Result<Turn> {
    let mut turn = Turn::default();
    let shortened = if options.quick { 4 } else { 1 };
    run_one(&*peer.client, Workflow::Steps, "first", &Plan::new(1, false)).await?;
    if options.wants(Workload::Steps) {
        let window = many(peer, Workflow::Steps, WINDOW / shortened).await?;
        turn.set(Figure::StepsPerSecond, window.steps as f64 / window.seconds);
        if let Some(cpu) = window.cpu_seconds {
            turn.set(Figure::CpuSecondsPer1000Steps, cpu * 1_000.0 / window.steps as f64);
        }
    }
    if options.wants(Workload::InProcess) {
        let window = many(peer, Workflow::InProcess, WINDOW / shortened).await?;
        turn.set(Figure::InProcessStepsPerSecond, window.steps as f64 / window.seconds);
        let window = one(peer, Workflow::InProcess, WINDOW_OF_ONE / shortened).await?;
        turn.set(Figure::InProcessMsPerStep, window.seconds * 1_000.0 / window.steps as f64);
    }
    if options.wants(Workload::Latency) {
        let window = one(peer, Workflow::Steps, WINDOW_OF_ONE / shortened).await?;
        turn.set(Figure::MsPerStep, window.seconds * 1_000.0 / window.steps as f64);
        turn.set(Figure::StepP50Ms, window.gaps.percentile(0.5) / 1_000.0);
        turn.set(Figure::StepP99Ms, window.gaps.percentile(0.99) / 1_000.0);
    }
    if options.wants(Workload::Signals) {
        turn.set(Figure::SignalsPerSecond, signals(peer, WINDOW_OF_SIGNALS / shortened).await?);
    }
    if options.wants(Workload::FanOut) {
        turn.set(Figure::FanOut1000Seconds, fan_out(peer, if options.quick { 2 } else { FAN_OUTS }).await?);
    }
    Ok(turn)
}

async fn many<C: Client>(peer: &mut Peer<C>, workflow: Workflow, length: Duration) -> Result<Window> {
    let in_flight = peer.in_flight.steps;
    window(peer, workflow, in_flight, &Plan::new(STEPS, false), length).await
}

async fn one<C: Client>(peer: &mut Peer<C>, workflow: Workflow, length: Duration) -> Result<Window> {
    window(peer, workflow, 1, &Plan::new(STEPS_OF_ONE, true), length).await
}

async fn window<C: Client>(
    peer: &mut Peer<C>,
    workflow: Workflow,
    in_flight: usize,
    plan: &Plan,
    length: Duration,
) -> Result<Window> {
    let prefix = format!("{workflow:?}-{in_flight}");
    let mut load = Load::start(&peer.client, workflow, in_flight, plan, &prefix);
    tokio::time::sleep(WARM_UP).await;
    load.wait_for(in_flight as u64).await?;
    peer.count().await?; // what was counted so far is not measured
    let (began, cpu_before) = (Instant::now(), peer.cpu_seconds());
    tokio::time::sleep(length).await;
    let count = peer.count().await?;
    let (seconds, cpu_after) = (began.elapsed().as_secs_f64(), peer.cpu_seconds());
    load.stop().await?;
    let cpu_seconds = cpu_after.zip(cpu_before).map(|(after, before)| after - before);
    let gaps = count.gaps.into_iter().map(f64::from).collect();
    Ok(Window { seconds, steps: count.steps, gaps, cpu_seconds })
}

/// Round trips per second.
async fn signals<C: Client>(peer: &Peer<C>, length: Duration) -> Result<f64> {
    let in_flight = peer.in_flight.signals;
    let mut load = Load::start(&peer.client, Workflow::Signalled, in_flight, &Plan::new(0, false), "signals");
    tokio::time::sleep(WARM_UP).await;
    load.wait_for(in_flight as u64).await?;
    let (began, before) = (Instant::now(), load.ended());
    tokio::time::sleep(length).await;
    load.wait_for(before + 2 * in_flight as u64).await?;
    let (seconds, ended) = (began.elapsed().as_secs_f64(), load.ended() - before);
    load.stop().await?;
    Ok(ended as f64 / seconds)
}

/// Seconds from start to end.
async fn fan_out<C: Client>(peer: &Peer<C>, times: usize) -> Result<f64> {
    let mut seconds = Samples::default();
    for number in 0..times {
        let began = Instant::now();
        let id = format!("fan-out-{number}");
        run_one(&*peer.client, Workflow::FanOut, &id, &Plan::new(FAN_OUT, false)).await?;
        if number > 0 {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    Ok(seconds.median())
}
