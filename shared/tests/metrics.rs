//! `docs/operations.md` lists every metric that the processes have, and no others.

use std::collections::BTreeSet;

const SOURCES: [&str; 2] = ["orchestrator/src/metric_definitions.rs", "worker/src/metric_definitions.rs"];

#[test]
fn every_metric_is_documented() {
    let defined: BTreeSet<String> = SOURCES.iter().flat_map(|path| names(&read(path))).collect();
    assert!(defined.len() > 40, "only {} metrics were found; are they defined elsewhere?", defined.len());
    let document = read("docs/operations.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `stepwell_")?.split('`').next());
    let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(defined, documented);
}

/// The string literals that can be names of metrics: words with an underscore. Labels are single words.
fn names(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let literals = code.split('"').skip(1).step_by(2);
    let word = |text: &&str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let single = |text: &str| text == "workers" || text == "partitions";
    let metrics = literals.filter(word).filter(|text| text.trim_matches('_').contains('_') || single(text));
    // How workflow tasks were answered, a label's value.
    metrics.filter(|text| *text != "query_failed" && *text != "timed_out").map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
