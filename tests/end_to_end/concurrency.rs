//! Several things at once inside one workflow: joins, races, bounded maps.

use stepwell::shared::command::Command;
use stepwell_tests::activities::OCCUPIED;
use stepwell_tests::checks::most_at_once;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::workflows::concurrency::{FanOut, fan_out, mapped, races};

use crate::stage::{Cache, Stage, result, warm_and_cold};

warm_and_cold!(
    a_join_waits_for_all,
    a_race_has_one_winner_and_cancels_the_rest,
    a_map_keeps_its_bound_and_order
);

async fn a_join_waits_for_all(cache: Cache) {
    let stage = Stage::new("join", cache).await;
    let client = &stage.cluster.client;
    let handle = client.start(fan_out, "j", FanOut { count: 50, texts: (3, 10) }).await.expect("it starts");
    assert_eq!(result(&handle).await, (50 * 51, 30));
    let empty = client.start(fan_out, "empty", FanOut { count: 0, texts: (0, 0) }).await.expect("it starts");
    assert_eq!(result(&empty).await, (0, 0));
    stage.finish().await;
}

async fn a_race_has_one_winner_and_cancels_the_rest(cache: Cache) {
    let stage = Stage::new("race", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    stage.cluster.gates.open("third");
    let handle = client.start(races, "r", ()).await.expect("it starts");
    assert_eq!(result(&handle).await, ["timer", "quick", "1 third"]);
    let records = handle.history().await.expect("a history");
    let commands = records.iter().filter_map(|record| record.turn.as_ref()).flat_map(|turn| &turn.commands);
    let winners = commands.filter_map(|command| match command {
        Command::RaceWon { winner, .. } => Some(*winner),
        _ => None,
    });
    assert_eq!(winners.collect::<Vec<_>>(), [1, 0, 1], "the winners are a matter of history");
    // The losers that were running are told to stop.
    until("the losers stop", || {
        let begun = ledger.count("r", "wait_at", Phase::Started);
        begun
            == ledger.count("r", "wait_at", Phase::Cancelled) + ledger.count("r", "wait_at", Phase::Finished)
    })
    .await;
    stage.finish().await;
}

async fn a_map_keeps_its_bound_and_order(cache: Cache) {
    let stage = Stage::new("map", cache).await;
    let client = &stage.cluster.client;
    let handle = client.start(mapped, "m", (40, 4)).await.expect("it starts");
    let ledger = &stage.cluster.ledger;
    until("as many at work as may be", || ledger.count("m", "occupy", Phase::Started) == 4).await;
    stage.cluster.gates.open(OCCUPIED);
    assert_eq!(result(&handle).await, (0..40).collect::<Vec<_>>());
    // There are 16 slots, and no more than 4 were used.
    assert_eq!(most_at_once(&ledger.read(), "occupy"), 4);
    stage.finish().await;
}
