//! What goes to stdout: a table for people, or JSON for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::text;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs; the shapes are stable
    Json,
}

/// Prints text and a line break. A reader that went away is no error worth telling.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    // In one piece, so that a reader of the first line does not make the rest fail.
    match stdout.write_all(format!("{text}\n").as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(Exit::Failure)),
        Err(error) => Err(Failure::new(Exit::Failure, format!("cannot write to stdout: {error}"))),
    }
}

/// Prints one JSON document on one line.
pub(crate) fn print_json(body: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(body);
    print(&text.map_err(|error| Failure::new(Exit::Failure, format!("cannot write JSON: {error}")))?)
}

/// A table without lines, as wide as the terminal at most. Cells are made fit for a terminal here.
pub(crate) struct Rows(Table);

impl Rows {
    pub(crate) fn new(header: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(header.iter().map(|name| name.to_uppercase()));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    pub(crate) fn add<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.0.add_row(cells.into_iter().map(|cell| text::line(cell.as_ref())));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        self.0.trim_fmt()
    }
}
