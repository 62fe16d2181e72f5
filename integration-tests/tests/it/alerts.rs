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

#[test]
fn alert_rules_are_about_metrics_that_there_are() {
    for path in files(".rules.yml") {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let names = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
        for name in names.filter(|name| name.starts_with("outrigger_")) {
            assert!(METRICS.contains(&format!("| `{name}` |")), "{}: {name} is no metric", path.display());
        }
    }
}
