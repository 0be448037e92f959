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
    let everything = (!chooses_packages(rest)).then_some("--workspace");
    run(cargo().arg("test").args(everything).args(rest).envs(variables))
}

/// Whether the arguments say which packages to test.
fn chooses_packages(rest: &[String]) -> bool {
    let own = rest.iter().take_while(|argument| *argument != "--");
    own.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

fn note(what: &str, error: &anyhow::Error) {
    eprintln!("note: {what} is left out, because what it needs could not be had: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_chosen_before_the_separator() {
        let arguments = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(chooses_packages(&arguments("-p stepwell")));
        assert!(chooses_packages(&arguments("--package=stepwell name")));
        assert!(!chooses_packages(&arguments("--release name -- -p")));
        assert!(!chooses_packages(&[]));
    }
}
