//! `TelemetryPolicy`.

use outrigger_snapshot::policy::{
    LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, Label, LabelError, LabelSource,
};

use super::super::model::{TelemetryPolicy, TelemetrySettings};
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::super::text::percent_share;
use super::amount::limited;
use super::backend_policy;

pub(super) fn read(
    spec: &Node,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> TelemetryPolicy {
    let mut settings = TelemetrySettings::default();
    if let Some(traces) = spec.field("traces") {
        settings.traces = share(traces);
        settings.slow_ms = limited(traces, "slow", 1, &path.field("traces"), report);
    }
    if let Some(log) = spec.field("accessLog") {
        settings.access_log = log.field("enabled").and_then(Node::boolean).or(Some(true));
        settings.access_log_share = share(log);
        if let (Some(false), Some(field)) = (settings.access_log, log.field("sampling")) {
            let path = path.field("accessLog");
            let message = "says what part of an access log is written that is off";
            report.unexpected(field.at, &path.field("sampling"), message, "either, not both");
        }
    }
    if let Some(all) = spec.field("labels") {
        settings.labels = Some(labels(all, &path.field("labels"), report));
    }
    TelemetryPolicy {
        targets: backend_policy::targets(spec, namespace),
        settings,
        written: backend_policy::written(spec),
    }
}

fn labels(all: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for (index, node) in all.items().iter().enumerate() {
        let path = path.item(index);
        // What has no name has been refused for that.
        let Some(name) = node.text_of("name") else { continue };
        let from = match (node.text_of("value"), node.text_of("header")) {
            (Some(value), None) => LabelSource::Value(value.to_owned()),
            (None, Some(header)) => LabelSource::Header(header.to_ascii_lowercase()),
            (None, None) => {
                report.unexpected(node.at, &path, "says nothing", "a value or a header");
                continue;
            }
            (Some(_), Some(_)) => {
                report.unexpected(node.at, &path, "has two values", "a value or a header, not both");
                continue;
            }
        };
        let label = Label { name: name.to_owned(), from };
        if let Err(error) = label.check() {
            let (field, expected) = explained(error);
            let at = node.field(field).map_or(node.at, |field| field.at);
            report.unexpected(at, &path.field(field), error.to_string(), expected);
        } else if labels.iter().any(|other| other.name == label.name) {
            let at = node.field("name").map_or(node.at, |field| field.at);
            report.unexpected(at, &path.field("name"), "stands twice", "another name");
        }
        labels.push(label);
    }
    labels
}

/// The field that is wrong, and what could stand there.
fn explained(error: LabelError) -> (&'static str, String) {
    match error {
        LabelError::Name => {
            let name = "words of a-z, 0-9 and '_', joined by dots, each beginning with a letter";
            ("name", format!("at most {LABEL_NAME_BYTES_MAX} bytes: {name}"))
        }
        LabelError::Taken => ("name", "one of your own, like shop.tenant".to_owned()),
        LabelError::Value => ("value", format!("1 to {LABEL_VALUE_BYTES_MAX} printable characters of ASCII")),
        LabelError::Header => ("header", "the name of a header".to_owned()),
        LabelError::Secret => ("header", "one that anybody may read".to_owned()),
    }
}

fn share(node: &Node) -> Option<u32> {
    node.text_of("sampling").and_then(percent_share)
}
