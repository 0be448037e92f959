//! A mixed load for a long time, to see whether anything grows that should not.
//!
//! The load is a steady one: so many workflows a second, whatever the machine can do, so that everything that is
//! kept for a while comes to rest at a level. Closed runs are kept for two minutes only.

mod look;
mod mixture;
mod verdict;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use self::look::{Series, look};
use self::mixture::Mixture;
use super::stage::{Setting, Stage};
use crate::arguments::SoakOptions;

/// How long closed runs are kept, in seconds.
const RETENTION_S: u64 = 120;

/// The usual time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The shortest time between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// In a shorter time than this, what is kept for a while has not come to its level when the middle third begins.
const SHORTEST: Duration = Duration::from_secs(15 * 60);

/// At least so many looks are taken when nothing is said.
const MIN_LOOKS: u32 = 15;

/// Soaks; fails when something grows.
pub(crate) async fn soak(options: &SoakOptions) -> Result<ExitCode> {
    let length = Duration::try_from_secs_f64(options.minutes * 60.0).context("so many minutes")?;
    let look_every = match options.look_every {
        Some(seconds) => Duration::try_from_secs_f64(seconds).context("so many seconds between looks")?,
        None => LOOK_EVERY.min(length / MIN_LOOKS),
    };
    ensure!(look_every >= SHORTEST_PAUSE, "a look takes a while: at least {SHORTEST_PAUSE:?} between two");
    let setting = Setting { retention_s: Some(RETENTION_S), ..Setting::default() };
    let stage = Stage::set(&setting).await?;
    let mut mixture = Mixture::new(&stage.real.connection).await?;
    let mut series = Series::default();
    let began = Instant::now();
    let mut next_look = began + look_every;
    while began.elapsed() < length {
        mixture.run_until(next_look).await?;
        next_look += look_every;
        series.add(look(&stage, mixture.counts()).await?);
        println!("{}", series.last_as_text(began.elapsed()));
    }
    mixture.finish().await?;
    let grows = if length < SHORTEST { None } else { verdict::growing(&series) };
    println!("\n{}", verdict::table(&series, grows.is_some()));
    if let Some(path) = &options.json {
        let json =
            json!({ "look_every_seconds": look_every.as_secs_f64(), "series": series, "grows": grows });
        std::fs::write(path, serde_json::to_string_pretty(&json)? + "\n")?;
    }
    println!("{}", mixture.summary());
    match grows {
        None => println!("too short, or too few looks, to say whether anything grows"),
        Some(grows) if grows.is_empty() => println!("nothing grows"),
        Some(grows) => {
            println!("GROWS: {}", grows.join(", "));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
