//! What lies around the programs fits them: images, the compose file, what Prometheus scrapes and warns of.
//! Nothing is built or started; the files are compared with each other and with the code, as text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The programs of the images, and where the options lie that they have.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("stepwell", &["cli/src", "orchestrator/src", "connection/src"]),
    ("document-pipeline", &["examples/document_pipeline/src", "connection/src"]),
    ("order-saga", &["examples/order_saga/src", "connection/src"]),
];

/// The variables that say where a process serves its metrics.
const ADDRESSES: [&str; 2] = ["STEPWELL_LISTEN", "METRICS_ADDRESS"];

#[test]
fn what_the_images_hold_is_built() {
    let dockerfile = read("Dockerfile");
    let words: Vec<&str> = dockerfile.split_whitespace().collect();
    let after = |word: &str| {
        let found = words.windows(2).filter(|pair| pair[0] == word).map(|pair| pair[1].to_owned());
        found.collect::<BTreeSet<_>>()
    };
    let under = |folder: &str| {
        let found = words.iter().filter_map(|word| word.strip_prefix(folder)).filter(|name| !name.is_empty());
        found.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let programs: BTreeSet<String> = PROGRAMS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(under("target/release/"), programs);
    assert_eq!(under("/out/"), programs);
    let built: BTreeSet<String> = binaries()
        .into_iter()
        .filter(|(package, _)| after("-p").contains(package))
        .map(|(_, binary)| binary)
        .collect();
    assert_eq!(built, programs);
    for source in after("COPY").iter().filter(|word| !word.starts_with("--")) {
        assert!(root().join(source).exists(), "{source} is copied and does not exist");
    }
}

#[test]
fn every_variable_that_is_set_is_one_that_the_program_knows() {
    let mut set = 0;
    for (name, service) in services() {
        let Some(image) = image(&service) else { continue };
        let program = image.program(&service);
        for (programs, variables) in
            [(&image.programs[..], &image.variables), (&[program], &variables(&service))]
        {
            let known = known_variables(programs);
            for variable in variables.keys() {
                assert!(known.contains(variable), "{name}: {variable} says nothing to {programs:?}");
                set += 1;
            }
        }
    }
    assert!(set > 10, "only {set} variables were found");
}

#[test]
fn prometheus_scrapes_where_the_processes_listen() {
    let mut listening = BTreeMap::new();
    for (name, service) in services() {
        let Some(image) = image(&service) else { continue };
        let mut variables = image.variables.into_iter().chain(variables(&service));
        let address = variables.rfind(|(name, _)| ADDRESSES.contains(&name.as_str()));
        // The service without a command is the command line.
        let serves = service.contains("command:");
        if let Some((_, address)) = address.filter(|_| serves) {
            let (host, port) = address.rsplit_once(':').expect("an address has a port");
            assert_eq!(host, "0.0.0.0", "nobody else can reach {name}");
            listening.insert(name, port.to_owned());
        }
    }
    assert!(listening.len() > 3, "{listening:?}");
    assert_eq!(scraped(), listening);
    let orchestrator = &services()["orchestrator"];
    let health = format!("/dev/tcp/127.0.0.1/{} ", listening["orchestrator"]);
    assert!(orchestrator.contains(&health), "the health check of the orchestrator asks elsewhere");
    let prometheus = read("deploy/prometheus/prometheus.yml");
    assert!(prometheus.contains("- alerts.yml"), "the alerts are not read");
}

#[test]
fn alerts_and_operations_speak_of_metrics_and_labels_that_there_are() {
    // That the documented metrics are those of the code, a test of `stepwell-shared` says.
    let document = read("docs/operations.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `stepwell_"));
    let metrics: BTreeMap<String, String> = rows
        .filter_map(|row| row.split_once('`'))
        .map(|(name, rest)| {
            (format!("stepwell_{name}"), rest.split('|').nth(1).unwrap_or_default().to_owned())
        })
        .collect();
    assert!(metrics.len() > 40, "only {} metrics are documented", metrics.len());
    let alerts = read("deploy/prometheus/alerts.yml");
    let spoken = metric_names(&alerts).into_iter().chain(metric_names(&document));
    for name in spoken.filter(|name| !name.starts_with("stepwell_process_")) {
        assert!(metrics.contains_key(&name), "there is no {name}");
    }
    let mut checked = 0;
    for rule in alerts.split("- alert:").skip(1) {
        let expression = rule.lines().find(|line| line.trim().starts_with("expr:")).expect("an expression");
        let labels: Vec<&String> =
            metric_names(expression).iter().filter_map(|name| metrics.get(name)).collect();
        let grouped = expression.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
        let grouped = grouped.flat_map(|list| list.split(", ")).filter(|label| *label != "le");
        for label in grouped {
            let known = labels.iter().any(|labels| labels.contains(&format!("`{label}`")));
            assert!(known, "no metric of this has the label {label}: {expression}");
            let shown = rule.contains(&format!("$labels.{label} "));
            assert!(shown, "an alert for each {label} does not say which: {rule}");
            checked += 1;
        }
    }
    assert!(checked > 2, "only {checked} labels were found");
}

/// A stage of the Dockerfile that is an image.
struct Image {
    entrypoint: Option<String>,
    programs: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl Image {
    /// The program that runs in a service.
    fn program(&self, service: &str) -> String {
        let command = service.lines().find_map(|line| line.trim().strip_prefix("command: [\""));
        let first = command.and_then(|rest| rest.split('"').next()).map(str::to_owned);
        let program = self.entrypoint.clone().or(first).expect("a service runs a program");
        assert!(self.programs.contains(&program), "{program} is not in the image of\n{service}");
        program
    }
}

/// The image of a service, if it is one of ours.
fn image(service: &str) -> Option<Image> {
    let name = service.lines().find_map(|line| line.trim().strip_prefix("image: stepwell"))?;
    let stage = if name.is_empty() { "stepwell" } else { name.trim_start_matches('-') };
    let dockerfile = read("Dockerfile");
    let text = dockerfile
        .split("\nFROM ")
        .find(|text| text.lines().next().is_some_and(|line| line.ends_with(&format!(" AS {stage}"))))?;
    let words = || text.split_whitespace();
    let programs = words().filter_map(|word| word.strip_prefix("/out/")).map(str::to_owned).collect();
    let variables = text.lines().filter_map(|line| line.strip_prefix("ENV "));
    let variables = variables.flat_map(str::split_whitespace).filter_map(|word| word.split_once('='));
    let entrypoint = text.lines().find_map(|line| line.strip_prefix("ENTRYPOINT [\""));
    Some(Image {
        entrypoint: entrypoint.and_then(|rest| rest.split('"').next()).map(str::to_owned),
        programs,
        variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    })
}

/// The services of the compose file with their texts, what they refer to included.
fn services() -> BTreeMap<String, String> {
    let file = read("docker-compose.yml");
    let text = file.split("\nservices:\n").nth(1).expect("services");
    let text: Vec<&str> = text.lines().take_while(|line| line.is_empty() || line.starts_with(' ')).collect();
    let starts = text.iter().enumerate().filter(|(_, line)| indent(line) == 2 && !line.contains('#'));
    starts
        .map(|(at, line)| {
            let mut service = block(&text[at..]);
            let anchors: Vec<&str> =
                service.split("<<: *").skip(1).filter_map(|it| it.lines().next()).collect();
            let shared: Vec<String> = anchors.iter().map(|anchor| anchored(&file, anchor)).collect();
            service += &shared.concat();
            (line.trim().trim_end_matches(':').to_owned(), service)
        })
        .collect()
}

/// What the file has under an anchor.
fn anchored(file: &str, anchor: &str) -> String {
    let lines: Vec<&str> = file.lines().collect();
    let at = lines.iter().position(|line| line.ends_with(&format!("&{anchor}"))).expect("an anchor");
    block(&lines[at..])
}

/// The first line and those below it that are further in.
fn block(lines: &[&str]) -> String {
    let first = indent(lines[0]);
    let inner = lines[1..].iter().take_while(|line| line.trim().is_empty() || indent(line) > first);
    std::iter::once(&lines[0]).chain(inner).map(|line| format!("{line}\n")).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// What the `environment` of a service sets.
fn variables(service: &str) -> BTreeMap<String, String> {
    let pairs = service.lines().filter_map(|line| line.trim().split_once(": "));
    let upper = |name: &str| name.chars().all(|it| it.is_ascii_uppercase() || it == '_');
    let pairs = pairs.filter(|(name, _)| upper(name));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The services that Prometheus asks, and at which port.
fn scraped() -> BTreeMap<String, String> {
    let file = read("deploy/prometheus/prometheus.yml");
    let jobs = file.split("- job_name:").skip(1).flat_map(|job| {
        let value = |key: &str| job.lines().find_map(|line| line.trim().strip_prefix(key)).expect("a value");
        let names = value("- names: [").trim_end_matches(']').split(", ");
        let port = value("port: ");
        names.map(|name| (name.to_owned(), port.to_owned())).collect::<Vec<_>>()
    });
    jobs.collect()
}

/// The environment variables that stand for options of these programs.
fn known_variables(programs: &[String]) -> BTreeSet<String> {
    let folders = PROGRAMS.iter().filter(|(name, _)| programs.iter().any(|it| it == name));
    let mut known = BTreeSet::new();
    for folder in folders.flat_map(|(_, folders)| folders.iter()) {
        for source in sources(&root().join(folder)) {
            let text = std::fs::read_to_string(&source).expect("a source file");
            let found = text.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next());
            known.extend(found.map(str::to_owned));
        }
    }
    known
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs"));
    rust.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// The words that are names of metrics; of a histogram, without what is added for its parts.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let names = words.filter(|word| word.strip_prefix("stepwell_").is_some_and(|rest| !rest.is_empty()));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

/// Package and name of every program of the workspace.
fn binaries() -> Vec<(String, String)> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root());
    let output = cargo.output().expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let targets = list(&metadata["packages"]).into_iter().flat_map(|package| {
        let programs = list(&package["targets"]).into_iter().filter(|it| it["kind"][0] == "bin");
        programs.map(|it| (text(&package["name"]), text(&it["name"]))).collect::<Vec<_>>()
    });
    targets.collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
