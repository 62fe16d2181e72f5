//! The alert rules that are shipped, by Prometheus's own tool, and whether what they are about is exposed.

use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_integration_tests::mesh::said;

const METRICS: &str = include_str!("../../../docs/METRICS.md");

/// The shipped files that end so.
fn files(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/observability");
    let entries = std::fs::read_dir(folder).expect("alert rules are shipped");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    assert!(!files.is_empty(), "no {ending}");
    files
}

#[test]
fn alert_rules_say_what_their_tests_expect() {
    for (verb, ending) in [("check", ".rules.yml"), ("test", ".test.yml")] {
        let out = Command::new("promtool").args([verb, "rules"]).args(files(ending)).output();
        let out = out.expect("promtool is installed, see .ci/run");
        assert!(out.status.success(), "{}", said(&out));
    }
}

/// Whether a metric of that name, or a part of a histogram, is documented, and so exposed.
fn is_exposed(name: &str) -> bool {
    let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let row = |name: &str| {
        let rows = METRICS.lines().filter(|line| line.starts_with("| `"));
        let mut first = rows.filter_map(|line| line.split('|').nth(1));
        first.any(|names| names.split(',').any(|one| one.trim().trim_matches('`') == name))
    };
    row(name) || family.is_some_and(row)
}

/// The names of metrics in an expression, or in whatever else.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let names =
        text.split(|character: char| !(character.is_ascii_alphanumeric() || "_:".contains(character)));
    names.filter(|name| {
        ["outrigger_", "http_client_", "http_server_", "process_"].iter().any(|own| name.starts_with(own))
    })
}

#[test]
fn alert_rules_are_about_metrics_that_there_are() {
    for path in files(".rules.yml") {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        assert!(metrics(&text).count() > 5);
        for name in metrics(&text) {
            assert!(is_exposed(name), "{}: {name} is no metric", path.display());
        }
        // What is recorded is what alerts go by.
        let recorded = |name: &str| text.contains(&format!("- record: {name}\n"));
        let words =
            text.split(|character: char| !(character.is_ascii_alphanumeric() || "_:".contains(character)));
        for name in words.filter(|word| word.starts_with("outrigger:")) {
            assert!(recorded(name), "{}: {name} is not recorded", path.display());
        }
    }
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    for path in files("dashboard.json") {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let dashboard: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let panels = dashboard["panels"].as_array().expect("it has panels");
        let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
        let asked: Vec<_> =
            targets.map(|target| target["expr"].as_str().expect("it asks for something")).collect();
        assert!(asked.len() > 20, "{asked:?}");
        let variables = dashboard["templating"]["list"].as_array().expect("it has variables");
        let queries = variables.iter().filter_map(|variable| variable["query"]["query"].as_str());
        for expression in asked.iter().copied().chain(queries) {
            assert!(metrics(expression).count() > 0, "{expression}");
            for name in metrics(expression) {
                assert!(is_exposed(name), "{expression}: {name} is no metric");
            }
        }
    }
}

#[test]
fn the_scrape_config_is_one() {
    let out = Command::new("promtool").args(["check", "config"]).args(files("prometheus.yml")).output();
    let out = out.expect("promtool is installed, see .ci/run");
    assert!(out.status.success(), "{}", said(&out));
}
