//! A section for a terminal.

use std::fmt::{Display, Formatter, Result};

use super::{Figure, Section, Table, Target};

impl Display for Section {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "\n== {}: {}", self.name, self.title)?;
        if !self.figures.is_empty() {
            writeln!(f, "{:<46}{:>12}{:>26}", "", "median", "lowest - highest")?;
        }
        for figure in &self.figures {
            writeln!(f, "{figure}")?;
        }
        if let Some(compared) = &self.compared {
            write!(f, "{compared}")?;
        }
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        if !self.peak_memory.is_empty() {
            writeln!(f, "most memory in use, MiB")?;
        }
        for (place, memory) in &self.peak_memory {
            writeln!(f, "  {place:<44}{memory:>12.1}")?;
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}")?;
        }
        Ok(())
    }
}

impl Display for Figure {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { label, samples, digits, target, .. } = self;
        let (median, (lowest, highest)) = (samples.median(), samples.range());
        write!(f, "{label:<46}{median:>12.digits$}")?;
        if samples.len() > 1 {
            write!(f, "{:>26}", format!("{lowest:.digits$} - {highest:.digits$}"))?;
        }
        match target {
            None => Ok(()),
            Some(Target::AtLeast(limit)) => write!(f, "   at least {limit}: {}", reached(median >= *limit)),
            Some(Target::AtMost(limit)) => write!(f, "   at most {limit}: {}", reached(median <= *limit)),
        }
    }
}

fn reached(yes: bool) -> &'static str {
    if yes { "reached" } else { "MISSED" }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:<46}", self.title)?;
        for column in &self.columns {
            write!(f, "{column:>14}")?;
        }
        writeln!(f)?;
        for (label, values) in &self.rows {
            write!(f, "  {label:<44}")?;
            for value in values {
                write!(f, "{value:>14.*}", self.digits)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
