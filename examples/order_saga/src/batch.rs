//! A batch of orders whose end is known beforehand, and the books to open for them.

use crate::books::{Entry, opening};
use crate::order::Order;
use crate::shop::{ISLAND, NOWHERE};

/// Customers that can pay.
const CUSTOMERS: [&str; 3] = ["ada", "grace", "edsger"];

/// What each of them has, in cents: more than any batch costs.
const WEALTH: u64 = 1_000_000_000;

/// What is in stock, and what is not.
const ARTICLES: [(&str, u64); 3] = [("lamp", 1_000_000), ("chair", 1_000_000), ("unicorn", 0)];

/// How an order of the batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is delivered.
    Delivered,
    /// Everything is undone, because this step fails.
    Undone {
        /// The type of the failure.
        because: &'static str,
    },
}

/// The `n`th order, from 0, its id beginning with `prefix`. Of eight, five are delivered (one of them
/// after a second attempt) and three are undone, each after a different step.
#[must_use]
pub fn order(prefix: &str, n: usize) -> (Order, Expected) {
    let customer = CUSTOMERS[n % CUSTOMERS.len()];
    let quantity = 1 + n as u64 % 3;
    let mut order = Order {
        id: format!("{prefix}{:03}", n + 1),
        customer: customer.to_owned(),
        article: ARTICLES[n % 2].0.to_owned(),
        quantity,
        cents: quantity * (1_995 + 100 * n as u64),
        address: format!("{} Main Street", n + 1),
    };
    let expected = match n % 8 {
        1 => {
            order.address = NOWHERE.to_owned();
            Expected::Undone { because: "AddressUnknown" }
        }
        3 => {
            order.customer = "pauper".to_owned();
            Expected::Undone { because: "CardDeclined" }
        }
        5 => {
            order.article = "unicorn".to_owned();
            Expected::Undone { because: "OutOfStock" }
        }
        6 => {
            order.address = format!("{ISLAND} {n}");
            Expected::Delivered
        }
        _ => Expected::Delivered,
    };
    (order, expected)
}

/// The books that such orders can be entered in.
#[must_use]
pub fn opening_entries() -> Vec<Entry> {
    let customers = CUSTOMERS.iter().map(|name| opening(&format!("customer:{name}"), WEALTH));
    let articles = ARTICLES.iter().filter(|(_, stock)| *stock > 0);
    let articles = articles.map(|(name, stock)| opening(&format!("stock:{name}"), *stock));
    customers.chain(articles).chain([opening("parcels", 1_000_000)]).collect()
}
