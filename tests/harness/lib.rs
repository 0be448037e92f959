//! What the tests of several crates together share: real processes on a real server for the end-to-end
//! suite, the workflows and activities that they run, and the checkers of what they leave behind.

pub mod activities;
pub mod chaos;
pub mod checks;
pub mod cluster;
pub mod folder;
pub mod gates;
pub mod http;
pub mod ledger;
pub mod patience;
pub mod processes;
pub mod proxy;
pub mod sabotaged;
pub mod tmpfs;
pub mod workflows;
