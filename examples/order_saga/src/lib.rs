//! Orders as a saga on Stepwell: reserve, charge, book a parcel, hand it over; or undo what was done.
//!
//! [`saga`] is the place to start. [`shop`] holds its activities and their compensations, [`books`] the
//! money and goods that they move, [`audit`] the proof that nothing was moved twice or lost.

pub mod audit;
pub mod batch;
pub mod books;
pub mod order;
pub mod saga;
pub mod shop;
