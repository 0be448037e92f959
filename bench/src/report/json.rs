//! All sections for a program.

use anyhow::Result;
use serde_json::{Map, Value, json as value};

use super::compared::{cpu_per_1000, traffic_per_unit};
use super::{Places, Section};
use crate::driver::Window;

/// An object with one member for each section. What was not measured is left out.
pub(crate) fn json(sections: &[Section]) -> Result<String> {
    let sections = sections.iter().map(|section| (section.name.clone(), of_section(section)));
    Ok(serde_json::to_string_pretty(&Value::Object(sections.collect()))? + "\n")
}

fn of_section(section: &Section) -> Value {
    let mut members = Map::new();
    for figure in &section.figures {
        let (lowest, highest) = figure.samples.range();
        let (median, count) = (figure.samples.median(), figure.samples.len());
        let figure_value = value!({ "median": median, "lowest": lowest, "highest": highest, "count": count });
        members.insert(figure.key.into(), figure_value);
    }
    if let Some(compared) = &section.compared {
        for (name, windows) in [("real", &compared.real), ("floor", &compared.floor)] {
            if !windows.is_empty() {
                members.insert(name.into(), side(compared.unit, windows));
            }
        }
    }
    for table in &section.tables {
        let rows = table.rows.iter().map(|(label, values)| {
            let named = table.columns.iter().cloned().zip(values.iter().map(|number| value!(number)));
            (label.clone(), Value::Object(named.collect()))
        });
        members.insert(table.key.into(), Value::Object(rows.collect()));
    }
    if !section.peak_memory.is_empty() {
        members.insert("peak_memory_mib".into(), places(&section.peak_memory));
    }
    if !section.remarks.is_empty() {
        members.insert("remarks".into(), value!(section.remarks));
    }
    Value::Object(members)
}

fn side(unit: &str, windows: &[Window]) -> Value {
    let traffic: Map<_, _> = traffic_per_unit(windows)
        .into_iter()
        .map(|(key, _, per_unit)| (key.to_owned(), value!(per_unit)))
        .collect();
    value!({ "unit": unit, "cpu_seconds_per_1000": places(&cpu_per_1000(windows)), "per_unit": traffic })
}

fn places(places: &Places) -> Value {
    Value::Object(places.iter().map(|(place, figure)| ((*place).to_owned(), value!(figure))).collect())
}
