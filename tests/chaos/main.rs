//! Two minutes of the verification run, and its canaries: with a protection switched off, the checks must find
//! something. No time is asserted but the bound within which everything must come to rest.
//!
//! The programs and faults are drawn from a seed, which is printed; `STEPWELL_CHAOS_SEED` sets another one.

#[cfg(target_os = "linux")]
mod run;
