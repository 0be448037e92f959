//! What a process has used so far, as Linux tells it. On other systems there are no such figures.

use std::fs;

/// Clock ticks per second in `/proc/<pid>/stat`: part of Linux's interface to programs, the same
/// everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time, of all threads, in user and kernel mode.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold blanks; what follows it begins with field 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let kernel: f64 = fields.next()?.parse().ok()?;
    Some((user + kernel) / TICKS_PER_SECOND)
}

/// The average number of processes that wanted to run in the last minute.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next()?.parse().ok()
}
