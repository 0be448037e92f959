//! Whether anything grows: the last third of the looks is compared with the middle one. In the first, what is
//! kept for a while comes to its level.

use std::fmt::Write as _;

use super::look::{Measure, Series};

/// Fewest looks of which something can be said.
const MIN_LOOKS: usize = 9;

/// More than this share more is growth, if it is also more than [`slack`].
const SHARE: f64 = 0.10;

/// What grows, in words; `None` when there are too few looks to say.
pub(super) fn growing(series: &Series) -> Option<Vec<String>> {
    let mut grows = Vec::new();
    for (measure, of, values) in series.all() {
        let (middle, last) = thirds(&values)?;
        if grown(measure, middle, last) {
            grows.push(format!("{} of {of} ({middle:.0} to {last:.0})", measure.name()));
        }
    }
    Some(grows)
}

/// Everything that was looked at, as means of the thirds; what grows is marked if there is a verdict.
pub(super) fn table(series: &Series, verdict: bool) -> String {
    let mut table = format!("{:<14}{:<20}{:>14}{:>14}\n", "mean", "", "middle third", "last third");
    for (measure, of, values) in series.all() {
        let Some((middle, last)) = thirds(&values) else { continue };
        let grows = if verdict && grown(measure, middle, last) { "   GROWS" } else { "" };
        let _ = writeln!(table, "{:<14}{of:<20}{middle:>14.1}{last:>14.1}{grows}", measure.name());
    }
    table
}

fn grown(measure: Measure, middle: f64, last: f64) -> bool {
    last - middle > (middle * SHARE).max(slack(measure))
}

/// So much more is no growth, however little there was: what comes and goes between two looks.
fn slack(measure: Measure) -> f64 {
    match measure {
        Measure::InFlight => 200.0,
        Measure::Memory => 8.0,
        Measure::OpenFiles => 8.0,
        Measure::Messages => 2_000.0,
        Measure::Bytes => 2.0 * 1024.0 * 1024.0,
        Measure::Consumers => 2.0,
    }
}

/// Means of the middle and the last third.
fn thirds(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < MIN_LOOKS {
        return None;
    }
    let third = values.len() / 3;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (rest, last) = values.split_at(values.len() - third);
    Some((mean(&rest[rest.len() - third..]), mean(last)))
}

#[cfg(test)]
mod tests {
    use super::super::look::Look;
    use super::*;

    fn series(values: impl Iterator<Item = f64>) -> Series {
        let mut series = Series::default();
        for value in values {
            series.add(Look::from([((Measure::Memory, "orchestrator".to_owned()), value)]));
        }
        series
    }

    #[test]
    fn what_comes_to_rest_does_not_grow() {
        let rests = series((0..20).map(|minute| f64::from(100 + 30 * minute.min(5) + minute % 2)));
        assert_eq!(growing(&rests), Some(vec![]));
    }

    #[test]
    fn what_goes_on_growing_grows() {
        let grows = series((0..20).map(|minute| f64::from(100 + 5 * minute)));
        assert_eq!(growing(&grows), Some(vec!["memory MiB of orchestrator (152 to 182)".into()]));
        assert!(table(&grows, true).contains("GROWS") && !table(&grows, false).contains("GROWS"));
    }

    #[test]
    fn of_a_few_looks_nothing_is_said() {
        assert_eq!(growing(&series((0..8).map(f64::from))), None);
    }
}
