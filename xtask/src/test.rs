//! `test`: everything that `cargo test` finds, with the servers and the Python that some tests want.

use std::env;
use std::path::PathBuf;

use anyhow::Result;

use crate::nats_server::{self, OLDEST};
use crate::process::{cargo, run};
use crate::python::Python;

/// Names the oldest server that tests run on.
const OLDEST_VARIABLE: &str = "STEPWELL_NATS_SERVER_OLDEST";

/// Runs the tests; `rest` goes to `cargo test`.
pub(crate) fn test(rest: &[String]) -> Result<()> {
    let mut variables: Vec<(&str, PathBuf)> = vec![("STEPWELL_NATS_SERVER", nats_server::any()?)];
    if env::var_os(OLDEST_VARIABLE).is_none() {
        match nats_server::private_copy(OLDEST) {
            Ok(path) => variables.push((OLDEST_VARIABLE, path)),
            Err(error) => note("the run on the oldest server", &error),
        }
    }
    if env::var_os("STEPWELL_PYTHON").is_none() {
        match Python::ready().and_then(|python| python.with_nats()) {
            Ok(found) => variables.extend(found),
            Err(error) => note("the test of the Python worker", &error),
        }
    }
    // Tests start these programs as processes of their own.
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    let variables = variables.iter().map(|(name, value)| (name, value));
    run(cargo().args(["test", "--workspace"]).args(rest).envs(variables))
}

fn note(what: &str, error: &anyhow::Error) {
    eprintln!("note: {what} is left out, because what it needs could not be had: {error:#}");
}
