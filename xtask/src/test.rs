//! `test`: everything that `cargo test` finds, with the servers and the Python that some tests want; then what
//! talks to a server once more, on the oldest one.

use std::env;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};

use crate::nats_server::{self, OLDEST};
use crate::process::{cargo, run};
use crate::python::Python;

/// Names the server that tests run on.
const SERVER_VARIABLE: &str = "STEPWELL_NATS_SERVER";

/// Names the oldest server that tests run on.
const OLDEST_VARIABLE: &str = "STEPWELL_NATS_SERVER_OLDEST";

/// Until when the run on the oldest server may begin, in seconds since 1970. Later it is left out.
const UNTIL_VARIABLE: &str = "STEPWELL_OLDEST_UNTIL";

/// How many tests run at the same time; what the test harness itself reads.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Two for each core, and one more: most tests wait for servers, leases and timers, and leave a core free then.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from) * 2 + 1
}

/// The tests of whole processes, of the connection, the worker and the orchestrator with a server.
const WITH_SERVER: [&str; 4] = ["end_to_end", "with_server", "plain_nats", "limits"];

/// Tests that are left out there: what they see is the worker's cache, and with it they run on both servers.
const NOT_ON_OLDEST: [&str; 2] = ["--skip", "::cold::"];

/// How arguments begin that say which packages to test.
const PACKAGES: [&str; 2] = ["-p", "--package"];

/// How arguments begin that say what to test of them.
const TARGETS: [&str; 7] = ["--lib", "--doc", "--bin", "--test", "--example", "--bench", "--all-targets"];

/// Runs the tests; `rest` goes to `cargo test`.
pub(crate) fn test(rest: &[String]) -> Result<()> {
    let mut variables: Vec<(&str, PathBuf)> = vec![(SERVER_VARIABLE, nats_server::any()?)];
    if env::var_os(THREADS_VARIABLE).is_none() {
        variables.push((THREADS_VARIABLE, threads().to_string().into()));
    }
    let oldest = match env::var_os(OLDEST_VARIABLE) {
        Some(path) => Ok(PathBuf::from(path)),
        None => nats_server::private_copy(OLDEST),
    };
    match &oldest {
        Ok(path) => variables.push((OLDEST_VARIABLE, path.clone())),
        Err(error) => note("the run on the oldest server", error),
    }
    if env::var_os("STEPWELL_PYTHON").is_none() {
        match Python::ready().and_then(|python| python.with_nats()) {
            Ok(found) => variables.extend(found),
            Err(error) => note("the test of the Python worker", &error),
        }
    }
    let everything = (!chooses(rest, &PACKAGES)).then_some("--workspace");
    run(cargo().arg("test").args(everything).args(rest).envs(variables.clone()))?;
    let (Some(everything), Ok(oldest)) = (everything, oldest) else { return Ok(()) };
    if chooses(rest, &TARGETS) {
        return Ok(());
    }
    let until =
        env::var(UNTIL_VARIABLE).ok().map(|text| text.parse::<u64>().context(UNTIL_VARIABLE)).transpose()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs();
    if until.is_some_and(|until| now > until) {
        note("the run on the oldest server", &anyhow!("this machine is too slow: {UNTIL_VARIABLE} is over"));
        return Ok(());
    }
    // Of the whole workspace, too: with fewer packages, what they depend on would be built in another way.
    let targets = WITH_SERVER.iter().flat_map(|target| ["--test", target]);
    let mut again = cargo();
    again.args(["test", everything]).args(targets).args(with_own(rest, &NOT_ON_OLDEST)).envs(variables);
    run(again.env(SERVER_VARIABLE, oldest))
}

/// Whether one of the arguments begins like this.
fn chooses(rest: &[String], options: &[&str]) -> bool {
    let mut own = rest.iter().take_while(|argument| *argument != "--");
    own.any(|argument| options.iter().any(|option| argument.starts_with(option)))
}

/// The arguments, and others for the tests themselves.
fn with_own(rest: &[String], own: &[&str]) -> Vec<String> {
    let mut all = rest.to_vec();
    if !rest.iter().any(|argument| argument == "--") {
        all.push("--".to_owned());
    }
    all.extend(own.iter().map(|&argument| argument.to_owned()));
    all
}

fn note(what: &str, error: &anyhow::Error) {
    eprintln!("note: {what} is left out, because what it needs could not be had: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_test_is_chosen_before_the_separator() {
        let chosen = |text: &str| {
            let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            (chooses(&arguments, &PACKAGES), chooses(&arguments, &TARGETS))
        };
        assert_eq!(chosen("-p stepwell"), (true, false));
        assert_eq!(chosen("--package=stepwell --lib name"), (true, true));
        assert_eq!(chosen("--test end_to_end"), (false, true));
        assert_eq!(chosen("--release name -- -p --test-threads=1"), (false, false));
        assert_eq!(chosen(""), (false, false));
    }

    #[test]
    fn what_is_for_the_tests_stands_behind_one_separator() {
        let given = |rest: &[&str]| {
            let rest: Vec<String> = rest.iter().map(|&it| it.to_owned()).collect();
            with_own(&rest, &NOT_ON_OLDEST).join(" ")
        };
        assert_eq!(given(&["--no-fail-fast"]), "--no-fail-fast -- --skip ::cold::");
        assert_eq!(given(&["--", "--test-threads=1"]), "-- --test-threads=1 --skip ::cold::");
    }
}
