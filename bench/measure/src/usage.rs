//! What a process has used so far, as Linux tells it. On other systems there are no such figures.

use std::fs;
use std::path::Path;

/// Clock ticks per second in `/proc/<pid>/stat`: part of Linux's interface to programs, the same
/// everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time, of all threads, in user and kernel mode. Nothing when there is no such process.
#[must_use]
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold blanks; what follows it begins with field 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let kernel: f64 = fields.next()?.parse().ok()?;
    Some((user + kernel) / TICKS_PER_SECOND)
}

/// Memory in use now, in MiB.
#[must_use]
pub fn memory(pid: u32) -> Option<f64> {
    mebibytes(pid, "VmRSS:")
}

/// The most memory that was in use at once, in MiB.
#[must_use]
pub fn peak_memory(pid: u32) -> Option<f64> {
    mebibytes(pid, "VmHWM:")
}

fn mebibytes(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

/// The average number of processes that wanted to run in the last minute, of the whole machine.
#[must_use]
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// How many files and sockets are open.
#[must_use]
pub fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Bytes that the files below a folder take on the disk. What goes away meanwhile is not counted.
#[must_use]
pub fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => disk_bytes(&entry.path()),
            Ok(about) => blocks(&about) * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(unix)]
fn blocks(about: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(about)
}

#[cfg(not(unix))]
fn blocks(about: &fs::Metadata) -> u64 {
    about.len().div_ceil(512)
}
