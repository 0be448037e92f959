//! Workflow code driven by hand: events in, commands out, and the same again from history.

#[cfg(test)]
mod activities;
#[cfg(test)]
mod cancelling;
#[cfg(test)]
mod combinators;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod foreign_waits;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod nondeterminism;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod races;
#[cfg(test)]
mod records;
#[cfg(test)]
mod sagas;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod values;
