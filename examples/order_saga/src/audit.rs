//! The audit of the books: whether what they hold at the end is exactly what the ends of the orders
//! demand, nothing twice and nothing missing.

use std::collections::BTreeMap;

use crate::books::{Entry, Kind, balances};
use crate::order::Order;

/// How an order ended, as its run says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Delivered.
    Delivered,
    /// Everything undone.
    Undone,
}

/// What is wrong with the books, given how all of their orders ended. Empty when nothing is.
#[must_use]
pub fn audit(entries: &[Entry], orders: &[(Order, End)]) -> Vec<String> {
    let mut findings = duplicates(entries);
    for (order, end) in orders {
        findings.extend(order_findings(entries, order, *end));
    }
    for entry in entries.iter().filter(|entry| entry.kind != Kind::Opening) {
        if !orders.iter().any(|(order, _)| order.id == entry.order) {
            findings.push(format!("{:?} belongs to no order", entry.key));
        }
    }
    findings.extend(sum_findings(entries, orders));
    findings
}

fn duplicates(entries: &[Entry]) -> Vec<String> {
    let mut keys = std::collections::HashSet::new();
    let repeated = entries.iter().filter(|entry| !keys.insert(&entry.key));
    repeated.map(|entry| format!("the key {:?} was entered twice", entry.key)).collect()
}

/// How often each kind of entry must be there for one order.
fn order_findings(entries: &[Entry], order: &Order, end: End) -> Vec<String> {
    let mut findings = Vec::new();
    let amounts = |kind| -> Vec<u64> {
        let of = entries.iter().filter(|entry| entry.order == order.id && entry.kind == kind);
        of.map(|entry| entry.amount).collect()
    };
    let steps = [
        (Kind::Reserve, Kind::Release, order.quantity),
        (Kind::Charge, Kind::Refund, order.cents),
        (Kind::Book, Kind::Unbook, 1),
    ];
    for (action, undo, amount) in steps {
        let (done, undone) = (amounts(action), amounts(undo));
        let right = match end {
            End::Delivered => done == [amount] && undone.is_empty(),
            End::Undone => done.len() <= 1 && done == undone && done.iter().all(|found| *found == amount),
        };
        if !right {
            findings.push(format!(
                "order {} ended {end:?}, but has {action:?} {done:?} and {undo:?} {undone:?} (it is about {amount})",
                order.id
            ));
        }
    }
    for (kind, amount) in [(Kind::Ship, order.quantity), (Kind::Confirm, 1)] {
        let found = amounts(kind);
        let wanted: &[u64] = match end {
            End::Delivered => &[amount],
            End::Undone => &[],
        };
        if found != wanted {
            findings.push(format!("order {} ended {end:?}, but has {kind:?} {found:?}", order.id));
        }
    }
    findings
}

/// The same from the other side: the accounts, without looking at what kind of entry moved what.
fn sum_findings(entries: &[Entry], orders: &[(Order, End)]) -> Vec<String> {
    let openings: Vec<Entry> = entries.iter().filter(|entry| entry.kind == Kind::Opening).cloned().collect();
    let mut wanted = balances(&openings);
    let total: u64 = wanted.values().sum();
    for (order, _) in orders.iter().filter(|(_, end)| *end == End::Delivered) {
        move_amount(&mut wanted, &format!("customer:{}", order.customer), "shop", order.cents);
        move_amount(
            &mut wanted,
            &format!("stock:{}", order.article),
            &format!("shipped:{}", order.id),
            order.quantity,
        );
        move_amount(&mut wanted, "parcels", &format!("confirmed:{}", order.id), 1);
    }
    let mut found = balances(entries);
    let found_total: u64 = found.values().sum();
    wanted.retain(|_, held| *held > 0);
    found.retain(|_, held| *held > 0);
    let mut findings = Vec::new();
    if total != found_total {
        findings.push(format!("the accounts held {total} in all and hold {found_total} now"));
    }
    for account in wanted.keys().chain(found.keys().filter(|account| !wanted.contains_key(*account))) {
        let held = |accounts: &BTreeMap<String, u64>| accounts.get(account).copied().unwrap_or_default();
        if held(&wanted) != held(&found) {
            findings.push(format!("{account} should hold {} and holds {}", held(&wanted), held(&found)));
        }
    }
    findings
}

fn move_amount(accounts: &mut BTreeMap<String, u64>, from: &str, to: &str, amount: u64) {
    let source = accounts.entry(from.to_owned()).or_default();
    *source = source.saturating_sub(amount);
    *accounts.entry(to.to_owned()).or_default() += amount;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{opening_entries, order};

    fn entry(key: &str, kind: Kind, order: &Order, from: &str, to: &str, amount: u64) -> Entry {
        let (key, order) = (key.to_owned(), order.id.clone());
        Entry { key, kind, order, from: from.to_owned(), to: to.to_owned(), amount }
    }

    /// Books of one delivered and one undone order, as they should be.
    fn right() -> (Vec<Entry>, Vec<(Order, End)>) {
        let (a, _) = order("o-", 0);
        let (b, _) = order("o-", 1);
        let mut entries = opening_entries();
        let (stock, customer) = (format!("stock:{}", a.article), format!("customer:{}", a.customer));
        entries.extend([
            entry("a1", Kind::Reserve, &a, &stock, "reserved:o-001", a.quantity),
            entry("a2", Kind::Charge, &a, &customer, "shop", a.cents),
            entry("a3", Kind::Book, &a, "parcels", "booked:o-001", 1),
            entry("a4", Kind::Ship, &a, "reserved:o-001", "shipped:o-001", a.quantity),
            entry("a5", Kind::Confirm, &a, "booked:o-001", "confirmed:o-001", 1),
        ]);
        let customer = format!("customer:{}", b.customer);
        entries.extend([
            entry("b2", Kind::Charge, &b, &customer, "shop", b.cents),
            entry("b2u", Kind::Refund, &b, "shop", &customer, b.cents),
        ]);
        (entries, vec![(a, End::Delivered), (b, End::Undone)])
    }

    #[test]
    fn right_books_have_no_findings() {
        let (entries, orders) = right();
        assert_eq!(audit(&entries, &orders), Vec::<String>::new());
    }

    #[test]
    fn doctored_books_are_found_out() {
        let (entries, orders) = right();
        let charge = entries.iter().position(|entry| entry.key == "a2").unwrap();
        let refund = entries.iter().position(|entry| entry.key == "b2u").unwrap();

        let mut twice = entries.clone();
        twice.push(Entry { key: "again".into(), ..entries[charge].clone() });
        assert!(!audit(&twice, &orders).is_empty(), "a charge applied twice");

        let mut same_key = entries.clone();
        same_key.push(entries[charge].clone());
        assert!(!audit(&same_key, &orders).is_empty(), "a key entered twice");

        let mut missing = entries.clone();
        missing.remove(refund);
        assert!(!audit(&missing, &orders).is_empty(), "a refund that is missing");

        let mut less = entries.clone();
        less[refund].amount -= 1;
        assert!(!audit(&less, &orders).is_empty(), "a refund that is too small");

        let mut elsewhere = entries.clone();
        elsewhere[refund].to = "customer:mallory".into();
        assert!(!audit(&elsewhere, &orders).is_empty(), "a refund to somebody else");

        let mut stranger = entries.clone();
        stranger[charge].order = "o-999".into();
        assert!(!audit(&stranger, &orders).is_empty(), "a charge for no order");

        let mut ends = orders;
        ends[1].1 = End::Delivered;
        assert!(!audit(&entries, &ends).is_empty(), "an order that was not delivered");
    }
}
