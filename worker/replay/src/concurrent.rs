//! Work on many items with a bound on how many are worked on at once.

use std::future::Future;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::WorkflowContext;

/// As soon as one item is finished the next one begins, whichever it was; results are in the order of
/// the items.
pub(crate) async fn map_concurrent<T, F, Fut>(
    ctx: WorkflowContext,
    items: Vec<T>,
    limit: usize,
    mut work: F,
) -> Vec<Fut::Output>
where
    F: FnMut(WorkflowContext, T) -> Fut,
    Fut: Future,
{
    let mut results: Vec<Option<Fut::Output>> = items.iter().map(|_| None).collect();
    let mut waiting = items.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < limit.max(1) {
            let Some((index, item)) = waiting.next() else { break };
            let result = work(ctx.clone(), item);
            running.push(async move { (index, result.await) });
        }
        let Some((index, result)) = running.next().await else { break };
        if let Some(place) = results.get_mut(index) {
            *place = Some(result);
        }
    }
    results.into_iter().flatten().collect()
}
