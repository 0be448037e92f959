//! A stream that is full refuses what is new with a clear error, loses nothing that it took, and goes on when
//! there is room.

use stepwell::shared::error_code::ErrorCode;
use stepwell_tests::workflows::lifecycle::{GO, chain, waits};

use crate::stage::{Cache, Stage, result, warm_and_cold};

/// More starts than there is room for.
const MANY: usize = 500;

warm_and_cold!(a_full_stream_refuses_and_goes_on);

async fn a_full_stream_refuses_and_goes_on(cache: Cache) {
    let stage = Stage::new("full", cache).await;
    let client = &stage.cluster.client;
    let open = client.start(waits, "open", ()).await.expect("it starts");
    let jetstream = client.connection().jetstream().clone();
    let events = jetstream.get_stream("STEPWELL_default_EVENTS").await.expect("the stream");
    let before = events.cached_info().config.clone();
    let used = i64::try_from(events.get_info().await.expect("it answers").state.bytes).expect("it is small");
    let mut small = before.clone();
    small.max_bytes = used + 16 * 1_024;
    jetstream.update_stream(small).await.expect("it can be made smaller");
    let mut accepted = Vec::new();
    let mut refused = None;
    for number in 0..MANY {
        match client.start(chain, format!("n{number}"), 2).await {
            Ok(handle) => accepted.push(handle),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(!accepted.is_empty(), "there is room for some");
    let refused = refused.expect("there is no room for all of them");
    assert_eq!(refused.code(), Some(ErrorCode::StorageFull), "{refused}");
    jetstream.update_stream(before).await.expect("it can be made larger");
    for handle in &accepted {
        assert_eq!(result(handle).await.len(), 2);
    }
    open.signal(GO, 3).await.expect("there is room");
    assert_eq!(result(&open).await, 3);
    stage.finish().await;
}
