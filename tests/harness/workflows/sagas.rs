//! A journey of several legs, each with its compensation.

use serde::{Deserialize, Serialize};
use stepwell::prelude::*;

use crate::activities::{Leg, note, return_ticket, travel};

/// What the traveller is told when the journey may end.
pub const ARRIVE: Signal<()> = Signal::new("arrive");

/// A journey.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Trip {
    /// One after the other.
    pub legs: Vec<Leg>,
    /// All legs at once.
    pub together: bool,
    /// A pivot after so many legs.
    pub pivot_after: Option<usize>,
    /// What happens after the last leg.
    pub end: End,
}

/// How a journey ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum End {
    /// Well.
    #[default]
    Well,
    /// With an error.
    Fail,
    /// When [`ARRIVE`] comes.
    Wait,
    /// Everything is undone in the middle of the code, which then goes on.
    GoHome,
}

/// Takes the journey; returns the tickets.
#[workflow]
pub async fn trip(ctx: WorkflowContext, trip: Trip) -> Result<Vec<String>, WorkflowError> {
    let mut tickets = Vec::new();
    if trip.together {
        let legs = trip.legs.into_iter().map(|leg| ctx.run(travel, leg).compensate(return_ticket));
        tickets = try_join_all(legs).await?;
    } else {
        for (index, leg) in trip.legs.into_iter().enumerate() {
            if trip.pivot_after == Some(index) {
                ctx.pivot();
            }
            tickets.push(ctx.run(travel, leg).compensate(return_ticket).await?);
        }
    }
    match trip.end {
        End::Well => {}
        End::Fail => return Err(WorkflowError::new("Homesick", "the journey is broken off")),
        End::Wait => ctx.receive(ARRIVE).await?,
        End::GoHome => {
            ctx.compensate().await?;
            tickets.push(ctx.run(note, "home".to_owned()).await?);
        }
    }
    Ok(tickets)
}
