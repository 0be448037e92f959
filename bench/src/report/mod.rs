//! The figures as tables for people and as JSON for programs.

mod compared;
mod json;
mod text;

use stepwell_bench_measure::statistics::Samples;

use crate::driver::Window;

/// Figures of processes by their place, such as `orchestrator`.
pub(crate) type Places = Vec<(&'static str, f64)>;

/// One measurement.
#[derive(Debug)]
pub(crate) struct Section {
    name: String,
    title: String,
    figures: Vec<Figure>,
    compared: Option<Compared>,
    tables: Vec<Table>,
    /// The most memory in use, in MiB.
    peak_memory: Places,
    remarks: Vec<String>,
}

/// A figure that was measured once or more.
#[derive(Debug)]
struct Figure {
    key: &'static str,
    label: String,
    samples: Samples,
    digits: usize,
    target: Option<Target>,
}

/// What a figure must reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// What processes used, per unit of what was done, beside the floor if there is one.
#[derive(Debug)]
struct Compared {
    unit: &'static str,
    real: Vec<Window>,
    floor: Vec<Window>,
}

/// Rows of numbers under headings.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) key: &'static str,
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<(String, Vec<f64>)>,
    pub(crate) digits: usize,
}

impl Section {
    /// A section without figures. `name` as it is asked for, `title` for people.
    pub(crate) fn new(name: &str, title: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            title: title.into(),
            figures: Vec::new(),
            compared: None,
            tables: Vec::new(),
            peak_memory: Places::new(),
            remarks: Vec::new(),
        }
    }

    /// Adds a figure; one that was not measured is left out.
    pub(crate) fn figure(&mut self, key: &'static str, label: &str, samples: Samples, digits: usize) {
        self.push(key, label, samples, digits, None);
    }

    /// Adds a figure that must reach something.
    pub(crate) fn aimed(
        &mut self,
        key: &'static str,
        label: &str,
        samples: Samples,
        digits: usize,
        target: Target,
    ) {
        self.push(key, label, samples, digits, Some(target));
    }

    /// Adds a figure that was measured once.
    pub(crate) fn once(&mut self, key: &'static str, label: &str, value: f64, digits: usize) {
        self.push(key, label, std::iter::once(value).collect(), digits, None);
    }

    fn push(
        &mut self,
        key: &'static str,
        label: &str,
        samples: Samples,
        digits: usize,
        target: Option<Target>,
    ) {
        if !samples.is_empty() {
            self.figures.push(Figure { key, label: label.to_owned(), samples, digits, target });
        }
    }

    /// Adds what the processes used for each `unit`, such as `step`, of Stepwell and of the floor.
    pub(crate) fn compare(&mut self, unit: &'static str, real: Vec<Window>, floor: Vec<Window>) {
        self.compared = Some(Compared { unit, real, floor });
    }

    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds the most memory that was in use.
    pub(crate) fn peak_memory(&mut self, memory: Places) {
        self.peak_memory = memory;
    }

    /// Adds a sentence, about something that is not a number or needs attention.
    pub(crate) fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }
}

pub(crate) use json::json;
