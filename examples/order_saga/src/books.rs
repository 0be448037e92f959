//! The books: accounts of money, goods and parcels in one append-only file. Every entry moves an amount
//! from one account to another, so nothing can appear or vanish; every entry has a key, and a key is
//! entered once. Several processes may use one file: a lock orders them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Largest file of books that is read, in bytes. An example: a real shop has a database.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// One line of the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is recognised by; the idempotency key of the step that made it.
    pub key: String,
    /// What happened.
    pub kind: Kind,
    /// The order that it belongs to.
    pub order: String,
    /// The account that gave.
    pub from: String,
    /// The account that received.
    pub to: String,
    /// How much: cents, pieces or parcels.
    pub amount: u64,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What was there when the books were opened.
    Opening,
    /// Goods were put aside for an order.
    Reserve,
    /// Goods were put back.
    Release,
    /// A customer paid.
    Charge,
    /// A customer got the money back.
    Refund,
    /// A parcel was booked with the carrier.
    Book,
    /// The booking was given up.
    Unbook,
    /// The parcel was handed over.
    Ship,
    /// The customer was told.
    Confirm,
    /// A key that will never be entered: its action was undone before it was done.
    Void,
}

/// Why something was not entered.
#[derive(Debug, Error)]
pub enum BooksError {
    /// The account does not hold enough.
    #[error("{account} holds {held}, and {wanted} are wanted")]
    Insufficient {
        /// Which account.
        account: String,
        /// What it holds.
        held: u64,
        /// What was wanted.
        wanted: u64,
    },
    /// The action was undone before it was done.
    #[error("{key} was undone; it is not entered any more")]
    Voided {
        /// Its key.
        key: String,
    },
    /// The disk said no.
    #[error("cannot use the books {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is none of ours.
    #[error("line {line} of the books {} cannot be read: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// The books in one file.
#[derive(Debug, Clone)]
pub struct Books {
    path: PathBuf,
}

impl Books {
    /// The books at `path`, opened with these entries when there are none yet.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(path: &Path, opening: &[Entry]) -> Result<Self, BooksError> {
        let books = Self { path: path.to_owned() };
        books.locked(
            |entries| if entries.is_empty() { Ok((opening.to_vec(), ())) } else { Ok((Vec::new(), ())) },
        )?;
        Ok(books)
    }

    /// All entries, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, BooksError> {
        self.locked(|entries| Ok((Vec::new(), entries.to_vec())))
    }

    /// Enters `entry`, unless its key has been entered: then everything stays as it is, and it counts as
    /// done.
    ///
    /// # Errors
    /// When the giving account does not hold enough, the key was voided, or the file cannot be used.
    pub fn enter(&self, entry: Entry) -> Result<(), BooksError> {
        self.locked(|entries| {
            match entries.iter().find(|old| old.key == entry.key) {
                Some(old) if old.kind == Kind::Void => {
                    return Err(BooksError::Voided { key: entry.key.clone() });
                }
                Some(_) => return Ok((Vec::new(), ())),
                None => {}
            }
            let held = balances(entries).get(&entry.from).copied().unwrap_or_default();
            if held < entry.amount {
                return Err(BooksError::Insufficient {
                    account: entry.from.clone(),
                    held,
                    wanted: entry.amount,
                });
            }
            Ok((vec![entry], ()))
        })
    }

    /// Enters the reverse of the entry with key `undone`, once. If there is no such entry, voids the key,
    /// so that an action that is still on its way cannot be entered after it was undone.
    ///
    /// # Errors
    /// When the file cannot be used, or what was received has already gone elsewhere.
    pub fn reverse(&self, undone: &str, key: &str, kind: Kind, order: &str) -> Result<(), BooksError> {
        self.locked(|entries| {
            if entries.iter().any(|old| old.key == key) {
                return Ok((Vec::new(), ()));
            }
            let Some(action) = entries.iter().find(|old| old.key == undone) else {
                let nothing = String::new;
                let (key, order) = (undone.to_owned(), order.to_owned());
                let void = Entry { key, kind: Kind::Void, order, from: nothing(), to: nothing(), amount: 0 };
                return Ok((vec![void], ()));
            };
            if action.kind == Kind::Void {
                return Ok((Vec::new(), ()));
            }
            let held = balances(entries).get(&action.to).copied().unwrap_or_default();
            if held < action.amount {
                return Err(BooksError::Insufficient {
                    account: action.to.clone(),
                    held,
                    wanted: action.amount,
                });
            }
            let reverse = Entry {
                key: key.to_owned(),
                kind,
                order: order.to_owned(),
                from: action.to.clone(),
                to: action.from.clone(),
                amount: action.amount,
            };
            Ok((vec![reverse], ()))
        })
    }

    /// Reads all entries and appends those that `decide` returns, while nobody else does.
    fn locked<T>(
        &self,
        decide: impl FnOnce(&[Entry]) -> Result<(Vec<Entry>, T), BooksError>,
    ) -> Result<T, BooksError> {
        let failed = |source| BooksError::Io { path: self.path.clone(), source };
        let file = OpenOptions::new().create(true).read(true).append(true).open(&self.path);
        let mut file = file.map_err(failed)?;
        file.lock().map_err(failed)?; // released when the file is closed, also by a kill
        let entries = self.read(&mut file)?;
        let (new, outcome) = decide(&entries)?;
        let mut lines = Vec::new();
        for entry in new {
            serde_json::to_writer(&mut lines, &entry).map_err(|error| failed(error.into()))?;
            lines.push(b'\n');
        }
        file.write_all(&lines).map_err(failed)?;
        Ok(outcome)
    }

    /// The entries. A last line without its end was never answered for: it is cut off.
    fn read(&self, file: &mut File) -> Result<Vec<Entry>, BooksError> {
        let failed = |source| BooksError::Io { path: self.path.clone(), source };
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let read = Read::by_ref(file).take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        if read as u64 > MAX_BYTES {
            return Err(failed(io::Error::other(format!("more than {MAX_BYTES} bytes; begin new books"))));
        }
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        if complete < text.len() {
            file.set_len(complete as u64).map_err(failed)?;
        }
        let lines = text[..complete].lines().enumerate();
        let parsed = lines.map(|(at, line)| {
            serde_json::from_str(line).map_err(|source| BooksError::Line {
                path: self.path.clone(),
                line: at + 1,
                source,
            })
        });
        parsed.collect()
    }
}

/// What each account holds. The account `opening` gave everything and is not listed.
#[must_use]
pub fn balances(entries: &[Entry]) -> BTreeMap<String, u64> {
    let mut balances: BTreeMap<String, u64> = BTreeMap::new();
    for entry in entries {
        let from = balances.entry(entry.from.clone()).or_default();
        *from = from.saturating_sub(entry.amount);
        *balances.entry(entry.to.clone()).or_default() += entry.amount;
    }
    balances.retain(|account, _| !account.is_empty() && account != OPENING);
    balances
}

/// The account that opening entries take from.
pub const OPENING: &str = "opening";

/// An opening entry: `account` holds `amount`.
#[must_use]
pub fn opening(account: &str, amount: u64) -> Entry {
    Entry {
        key: format!("opening/{account}"),
        kind: Kind::Opening,
        order: String::new(),
        from: OPENING.to_owned(),
        to: account.to_owned(),
        amount,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("stepwell-books-{name}-{}.jsonl", std::process::id())))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).ok();
        }
    }

    fn charge(key: &str, amount: u64) -> Entry {
        Entry {
            key: key.into(),
            kind: Kind::Charge,
            order: "o-1".into(),
            from: "customer:ada".into(),
            to: "shop".into(),
            amount,
        }
    }

    fn open(scratch: &Scratch) -> Books {
        Books::open(&scratch.0, &[opening("customer:ada", 100)]).unwrap()
    }

    fn held(books: &Books, account: &str) -> u64 {
        balances(&books.entries().unwrap()).get(account).copied().unwrap_or_default()
    }

    #[test]
    fn a_key_is_entered_once() {
        let scratch = Scratch::new("once");
        let books = open(&scratch);
        books.enter(charge("k", 30)).unwrap();
        open(&scratch).enter(charge("k", 30)).unwrap();
        assert_eq!((held(&books, "customer:ada"), held(&books, "shop")), (70, 30));
    }

    #[test]
    fn nobody_gives_more_than_they_have() {
        let scratch = Scratch::new("enough");
        let books = open(&scratch);
        assert!(matches!(books.enter(charge("k", 101)), Err(BooksError::Insufficient { held: 100, .. })));
        assert_eq!(held(&books, "shop"), 0);
    }

    #[test]
    fn a_reverse_is_entered_once_and_only_for_what_was_done() {
        let scratch = Scratch::new("reverse");
        let books = open(&scratch);
        books.enter(charge("k", 30)).unwrap();
        for _ in 0..2 {
            books.reverse("k", "undo-k", Kind::Refund, "o-1").unwrap();
        }
        assert_eq!((held(&books, "customer:ada"), held(&books, "shop")), (100, 0));
    }

    #[test]
    fn what_was_undone_before_it_was_done_is_never_done() {
        let scratch = Scratch::new("void");
        let books = open(&scratch);
        for _ in 0..2 {
            books.reverse("k", "undo-k", Kind::Refund, "o-1").unwrap();
        }
        assert!(matches!(books.enter(charge("k", 30)), Err(BooksError::Voided { .. })));
        assert_eq!(held(&books, "customer:ada"), 100);
    }

    #[test]
    fn a_line_that_was_cut_off_by_a_kill_never_happened() {
        let scratch = Scratch::new("torn");
        let books = open(&scratch);
        let mut file = OpenOptions::new().append(true).open(&scratch.0).unwrap();
        file.write_all(b"{\"key\": \"k\", \"kind\": \"cha").unwrap();
        books.enter(charge("k", 30)).unwrap();
        assert_eq!(held(&books, "shop"), 30);
    }

    #[test]
    fn writers_at_the_same_time_do_not_lose_entries() {
        let scratch = Scratch::new("threads");
        let books = open(&scratch);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let books = books.clone();
                scope.spawn(move || {
                    for n in 0..10 {
                        books.enter(charge(&format!("{thread}-{n}"), 1)).unwrap();
                        books.enter(charge(&format!("all-{n}"), 1)).unwrap();
                    }
                });
            }
        });
        assert_eq!((held(&books, "shop"), held(&books, "customer:ada")), (50, 50));
    }
}
