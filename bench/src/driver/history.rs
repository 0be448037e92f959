//! Long histories: whether a step costs more the longer its run's history is, and what it costs to open one
//! in a worker that does not have it in memory.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use stepwell_bench_measure::statistics::Samples;
use stepwell_shared::encoding::decode;
use stepwell_shared::history::Record;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::limits::DEFAULT_PARTITIONS;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};

use super::latency::milliseconds;
use super::load::{Kind, Load};
use super::stage::{Setting, Stage, WORKFLOW_WORKER};
use super::stored;
use super::window::{Moment, Window, stream};
use crate::arguments::{Arguments, RoleName};
use crate::payload::Plan;
use crate::report::{Section, Table, Target};

/// Lengths of the history at which steps are looked at.
const LENGTHS: [usize; 3] = [10, 1_000, 10_000];

/// The same, to see that it works.
const QUICK_LENGTHS: [usize; 3] = [10, 100, 1_000];

/// Steps that are looked at from each length on.
const STEPS: usize = 200;

/// Longest time without a further step.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Pause between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn measure(arguments: &Arguments) -> Result<Section> {
    let mut stage = Stage::set(&Setting::usual(arguments)).await?;
    let lengths = if arguments.quick { QUICK_LENGTHS } else { LENGTHS };
    let [shortest, _, longest] = lengths;
    let count = longest + STEPS;
    let mut by_length: [Vec<f64>; 3] = Default::default();
    let (mut ratio, mut rate, mut seconds) = (Samples::default(), Samples::default(), Samples::default());
    let mut windows = Vec::new();
    let mut load = Load::new(&stage.real.connection, "history").await?;
    for number in 1..=arguments.repetitions() {
        let id = load.id(number as u64)?;
        let before = Moment::now(&stage, &stage.real).await?;
        load.start(Kind::Long, &Plan::activities(u32::try_from(count)?)).await?;
        wait_for_steps(&stage, count as u64, before.records).await?;
        windows.push(Window::between(&before, &Moment::now(&stage, &stage.real).await?));
        let history = read(&stage, &id).await?;
        let medians = lengths.map(|length| median_of_steps(&history.stored_at, length));
        for (all, median) in by_length.iter_mut().zip(medians) {
            all.push(median);
        }
        ratio.push(medians[2] / medians[0]);
        eprintln!("history: {:.3} ms a step at {shortest}, {:.3} ms at {longest}", medians[0], medians[2]);

        stage.real.crew.kill(WORKFLOW_WORKER);
        stage.real.crew.join(WORKFLOW_WORKER, RoleName::WorkflowWorker)?;
        stage.run_through(&format!("fresh-{number}"), 1).await?;
        // What was heard of those must not be taken for the end of this one.
        let mut end = Load::new(&stage.real.connection, "history").await?;
        let opened = Instant::now();
        load.signal(&id).await?;
        end.wait_for_close().await?;
        let opened = opened.elapsed().as_secs_f64();
        eprintln!("history: {} events opened in {opened:.3} s", history.events);
        seconds.push(opened);
        rate.push(history.events as f64 / opened);
    }
    let title = format!("one run of {count} steps, and opening it in a worker that does not know it");
    let mut section = Section::new("history", title);
    let label = format!("a step at {longest} : a step at {shortest}");
    section.aimed("longest_times_shortest", &label, ratio, 2, Target::AtMost(1.2));
    section.figure("open_seconds", "s to open it, from a signal to the end", seconds, 3);
    section.figure("replayed_events_per_second", "events/s read and replayed", rate, 0);
    let rows = lengths.iter().zip(by_length).map(|(length, medians)| {
        let medians: Samples = medians.into_iter().collect();
        let (lowest, highest) = medians.range();
        (length.to_string(), vec![medians.median(), lowest, highest])
    });
    section.table(Table {
        key: "ms_per_step_by_length",
        title: format!("ms a step at so many events, p50 of {STEPS}"),
        columns: vec!["median".into(), "lowest".into(), "highest".into()],
        rows: rows.collect(),
        digits: 3,
    });
    section.compare("step", windows, Vec::new());
    section.peak_memory(stage.peak_memory());
    Ok(section)
}

/// Waits until so many steps are recorded after this record, and that of the start.
async fn wait_for_steps(stage: &Stage, steps: u64, after: u64) -> Result<()> {
    let (mut done, mut moved) = (0, Instant::now());
    while done < steps + 1 {
        let last = stream(&stage.real.connection, Stream::History(Shard::FIRST)).await?.state.last_sequence;
        if last - after > done {
            (done, moved) = (last - after, Instant::now());
        }
        if moved.elapsed() > STANDSTILL {
            bail!("{done} of {steps} steps are recorded and no more come");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

struct History {
    stored_at: Vec<i128>,
    events: usize,
}

async fn read(stage: &Stage, id: &WorkflowId) -> Result<History> {
    let connection = &stage.real.connection;
    let filter = subject::history(connection.namespace(), id, DEFAULT_PARTITIONS);
    let mut history = History { stored_at: Vec::new(), events: 0 };
    stored::read(connection, Stream::History(Shard::FIRST), &filter, (1, u64::MAX), |stored| {
        let record: Record = decode(&stored.body)?;
        history.stored_at.push(stored.at_ns);
        history.events += record.events.len();
        Ok(())
    })
    .await?;
    Ok(history)
}

fn median_of_steps(stored_at: &[i128], length: usize) -> f64 {
    let steps = stored_at.windows(2).skip(length).take(STEPS);
    steps.map(|pair| milliseconds(pair[1] - pair[0])).collect::<Samples>().median()
}
