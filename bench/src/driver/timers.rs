//! Many sleeping workflows whose timers come due within seconds: how late they are woken.

use std::time::Duration;

use anyhow::Result;

use super::stage::{Setting, Stage};
use super::wakes;
use crate::arguments::Arguments;
use crate::report::Section;

/// Sleeping workflows.
const TIMERS: usize = 100_000;

/// The time within which all come due.
const SPAN: Duration = Duration::from_secs(10);

pub(crate) async fn measure(arguments: &Arguments) -> Result<Section> {
    let stage = Stage::set(&Setting::usual(arguments)).await?;
    let (timers, span) = if arguments.quick { (TIMERS / 20, SPAN / 5) } else { (TIMERS, SPAN) };
    let wakes = wakes::wake(&stage, "timers", timers, span).await?;
    let mut section = Section::new("timers", format!("{timers} timers due within {} s", span.as_secs()));
    wakes.describe(&mut section, "timers");
    section.compare("wake", vec![wakes.window], Vec::new());
    section.peak_memory(stage.peak_memory());
    Ok(section)
}
