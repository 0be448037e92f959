//! The saga: each step says how it is undone, and the pivot says from where on it is only forward.

use serde::{Deserialize, Serialize};
use stepwell::prelude::*;

use crate::order::{Confirmation, Order};
use crate::shop::{
    book_parcel, cancel_parcel, charge_payment, refund_payment, release_inventory, reserve_inventory,
    send_confirmation, ship_order,
};

/// Where an order stands.
pub const STAGE: Query<(), Stage> = Query::new("stage");

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Goods are being put aside.
    Reserving,
    /// The customer is paying.
    Charging,
    /// A parcel is being booked.
    Booking,
    /// The goods are on their way.
    Shipping,
    /// The customer has been told.
    Done,
}

/// Takes an order to its end, or undoes all of it.
#[workflow(queue = "orders")]
pub async fn order_saga(ctx: WorkflowContext, order: Order) -> Result<Confirmation, WorkflowError> {
    let stage = ctx.answer(STAGE, Stage::Reserving);
    ctx.run(reserve_inventory, order.clone()).compensate(release_inventory).await?;
    stage.set(Stage::Charging);
    ctx.run(charge_payment, order.clone()).compensate(refund_payment).await?;
    stage.set(Stage::Booking);
    ctx.run(book_parcel, order.clone()).compensate(cancel_parcel).await?;

    // What is handed over cannot be called back: from here on every step is repeated until it works.
    ctx.pivot();
    stage.set(Stage::Shipping);
    ctx.run(ship_order, order.clone()).await?;
    let confirmation = ctx.run(send_confirmation, order).await?;
    stage.set(Stage::Done);
    Ok(confirmation)
}
