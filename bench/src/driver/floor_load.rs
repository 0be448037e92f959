//! Steps of the floor.

use std::time::Duration;

use anyhow::{Result, bail};
use async_nats::client::Request;

use super::stage::Side;
use crate::floor::{CONTROL_GO, CONTROL_STOP};

/// How long the floor may take to come to rest.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Begins steps in so many lanes; they go on until [`stop`].
pub(crate) async fn go(floor: &Side, lanes: usize) -> Result<()> {
    order(floor, CONTROL_GO, lanes.to_string()).await
}

/// Ends the steps; returns when none is under way.
pub(crate) async fn stop(floor: &Side) -> Result<()> {
    order(floor, CONTROL_STOP, String::new()).await
}

async fn order(floor: &Side, subject: &'static str, body: String) -> Result<()> {
    let request = Request::new().payload(body.into()).timeout(Some(TIMEOUT));
    match floor.connection.client().send_request(subject, request).await {
        Ok(_) => Ok(()),
        Err(error) => bail!("the floor's loop does not answer: {error}"),
    }
}
