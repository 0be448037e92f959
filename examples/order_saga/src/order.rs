//! An order, and what its steps answer.

use serde::{Deserialize, Serialize};

/// Somebody wants something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The order's number; also the workflow id.
    pub id: String,
    /// Who pays.
    pub customer: String,
    /// What is wanted.
    pub article: String,
    /// How many.
    pub quantity: u64,
    /// What all of them cost together, in cents.
    pub cents: u64,
    /// Where they go.
    pub address: String,
}

/// Goods were put aside, money was taken, a parcel was booked: the entry in the books that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The key of the entry.
    pub key: String,
}

/// The customer has been told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The order.
    pub order: String,
    /// The parcel's number.
    pub parcel: String,
}
