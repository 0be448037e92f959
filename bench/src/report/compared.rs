//! What the processes used and what went through the server, beside the floor.

use std::fmt::{Display, Formatter, Result};

use super::{Compared, Places};
use crate::driver::{Traffic, Window};

/// What is read off the server's counters.
type Counter = fn(&Traffic) -> u64;

const TRAFFIC: [(&str, &str, Counter); 4] = [
    ("messages_to_the_server", "messages to the server", |traffic| traffic.in_msgs),
    ("bytes_to_the_server", "bytes to the server", |traffic| traffic.in_bytes),
    ("messages_from_the_server", "messages from it", |traffic| traffic.out_msgs),
    ("bytes_from_the_server", "bytes from it", |traffic| traffic.out_bytes),
];

/// Processor seconds of 1,000 units, by place, over all windows.
pub(super) fn cpu_per_1000(windows: &[Window]) -> Places {
    per(windows, units(windows) / 1_000.0)
}

/// Processor seconds of a second, by place, over all windows.
fn busy(windows: &[Window]) -> Places {
    per(windows, windows.iter().map(|window| window.seconds).sum())
}

fn per(windows: &[Window], divisor: f64) -> Places {
    let Some(first) = windows.first() else { return Places::new() };
    let sum = |place: &str| -> f64 {
        let used = windows.iter().flat_map(|window| &window.cpu).filter(|(other, _)| *other == place);
        used.map(|(_, used)| used).sum()
    };
    first.cpu.iter().map(|(place, _)| (*place, sum(place) / divisor)).collect()
}

/// What went through the server for each unit; empty where that is not known.
pub(super) fn traffic_per_unit(windows: &[Window]) -> Vec<(&'static str, &'static str, f64)> {
    if windows.is_empty() || windows.iter().any(|window| window.traffic.is_none()) {
        return Vec::new();
    }
    let sum =
        |read: Counter| windows.iter().filter_map(|window| window.traffic.as_ref()).map(read).sum::<u64>();
    TRAFFIC.iter().map(|(key, label, read)| (*key, *label, sum(*read) as f64 / units(windows))).collect()
}

fn units(windows: &[Window]) -> f64 {
    windows.iter().map(|window| window.units).sum::<u64>() as f64
}

impl Display for Compared {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { unit, real, floor } = self;
        if real.is_empty() {
            return Ok(());
        }
        write!(f, "{:<46}{:>14}{:>14}", format!("CPU s of 1,000 {unit}s"), "Stepwell", "of 1 s")?;
        if !floor.is_empty() {
            write!(f, "{:>14}{:>14}", "floor", "of 1 s")?;
        }
        writeln!(f)?;
        let (of_floor, floor_busy) = (cpu_per_1000(floor), busy(floor));
        let all = |places: &Places| places.iter().map(|(_, seconds)| seconds).sum::<f64>();
        for ((place, cpu), (_, busy)) in cpu_per_1000(real).iter().zip(busy(real)) {
            write!(f, "  {place:<44}{cpu:>14.4}{:>12.0} %", busy * 100.0)?;
            let same = of_floor.iter().zip(&floor_busy).find(|((other, _), _)| other == place);
            if let Some(((_, cpu), (_, busy))) = same {
                write!(f, "{cpu:>14.4}{:>12.0} %", busy * 100.0)?;
            }
            writeln!(f)?;
        }
        write!(f, "  {:<44}{:>14.4}{:>14}", "all", all(&cpu_per_1000(real)), "")?;
        if !floor.is_empty() {
            write!(f, "{:>14.4}", all(&of_floor))?;
        }
        writeln!(f)?;
        let traffic_of_floor = traffic_per_unit(floor);
        for (index, (_, label, a_unit)) in traffic_per_unit(real).iter().enumerate() {
            write!(f, "  {:<44}{a_unit:>14.2}", format!("{label}, per {unit}"))?;
            if let Some((_, _, of_floor)) = traffic_of_floor.get(index) {
                let ratio = a_unit / of_floor;
                write!(f, "{:>14}{of_floor:>14.2}{:>14}", "", format!("x {ratio:.3}"))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
