//! Turns, round after round: everyone once, then everyone again, so that what else the machine does meets all
//! of them alike. Each turn has servers and folders of its own, and nothing else runs in it.

use anyhow::{Context as _, Result, bail};
use stepwell_bench_measure::usage;

use crate::arguments::{Contestant, Options};
use crate::measure;
use crate::peer::{Client, Peer};
use crate::report::{Report, Turn};
use crate::{restate, stepwell, temporal};

/// Measures and reports.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let contestants = options.contestants();
    let mut report = Report::new(&contestants);
    for round in 0..options.rounds() {
        for contestant in &contestants {
            eprintln!("round {}: {}", round + 1, contestant.name());
            report.note_load(usage::load());
            match turn(*contestant, options).await {
                Ok(turn) => {
                    eprintln!("  {}", turn.line());
                    report.add(*contestant, round, turn);
                }
                Err(error) => {
                    let error = format!("round {}: {}: {error:#}", round + 1, contestant.name());
                    eprintln!("{error}");
                    report.fail(error);
                }
            }
        }
    }
    print!("{}", report.table());
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if report.failed() {
        bail!("not every turn could be measured");
    }
    Ok(())
}

async fn turn(contestant: Contestant, options: &Options) -> Result<Turn> {
    match contestant {
        Contestant::Stepwell => stepwell::turn(options).await,
        Contestant::StepwellSynced => stepwell::synced_turn(options).await,
        Contestant::Restate => of_peer(restate::start(options, true).await?, options).await,
        Contestant::RestateUnsynced => of_peer(restate::start(options, false).await?, options).await,
        Contestant::Temporal => of_peer(temporal::start(options, true).await?, options).await,
        Contestant::TemporalUnsynced => of_peer(temporal::start(options, false).await?, options).await,
    }
}

async fn of_peer<C: Client>(mut peer: Peer<C>, options: &Options) -> Result<Turn> {
    let turn = measure::turn(&mut peer, options).await;
    let stopped = peer.stop().await;
    let turn = turn?;
    stopped?;
    Ok(turn)
}
