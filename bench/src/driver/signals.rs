//! Round trips: start a workflow, hear that it is recorded, send it a signal, hear that it completed.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::load::{Heard, Kind, Load};
use super::stage::Stage;
use crate::payload::Plan;
use crate::report::Figures;

/// Round trips at once.
const IN_FLIGHT: usize = 200;

/// Round trips before the clock is started.
const WARM_UP: usize = 1_000;

/// How long is measured.
const WINDOW: Duration = Duration::from_secs(3);

pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> Result<()> {
    let window = if stage.quick { WINDOW / 3 } else { WINDOW };
    for repetition in 0..stage.repetitions {
        let mut load = Load::new(&stage.real.connection, &format!("signals-{repetition}")).await?;
        let plan = Plan::activities(0);
        for _ in 0..IN_FLIGHT {
            load.start_and_hear(Kind::Signalled, &plan).await?;
        }
        let (mut open, mut closed) = (IN_FLIGHT, 0_usize);
        let mut began: Option<Instant> = None;
        let mut measured = false;
        while open > 0 {
            match load.hear().await? {
                Heard::Started(id) => load.signal(&id).await?,
                Heard::Closed => {
                    closed += 1;
                    if began.is_none() && closed == WARM_UP {
                        began = Some(Instant::now());
                    }
                    let elapsed = began.map_or(Duration::ZERO, |began| began.elapsed());
                    if elapsed < window {
                        load.start_and_hear(Kind::Signalled, &plan).await?;
                        continue;
                    }
                    if !measured {
                        measured = true;
                        figures.signals_per_second.push((closed - WARM_UP) as f64 / elapsed.as_secs_f64());
                    }
                    open -= 1;
                }
            }
        }
    }
    eprintln!("signals: {:.0}/s", figures.signals_per_second.median());
    Ok(())
}
