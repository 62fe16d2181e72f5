//! `BackendTLSPolicy`.

use outrigger_snapshot::facts::AltName;

use super::super::model::BackendTlsPolicy;
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::{backend_policy, gateway};

pub(super) fn read(
    spec: &Node,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> BackendTlsPolicy {
    let targets = backend_policy::targets(spec, namespace);
    let path = path.field("validation");
    let Some(validation) = spec.field("validation") else {
        return BackendTlsPolicy {
            targets,
            hostname: String::new(),
            names: Vec::new(),
            authorities: Vec::new(),
        };
    };
    let listed = validation.field("caCertificateRefs").is_some();
    let well_known = validation.field("wellKnownCACertificates").is_some();
    if listed == well_known {
        let message = if listed { "says twice who is believed" } else { "does not say who is believed" };
        report.unexpected(
            validation.at,
            &path,
            message,
            "one of caCertificateRefs and wellKnownCACertificates",
        );
    }
    let authorities = gateway::references(validation, "caCertificateRefs", &path, namespace, report);
    BackendTlsPolicy {
        targets,
        hostname: validation.text_of("hostname").unwrap_or_default().to_owned(),
        names: names(validation, &path, report),
        authorities: authorities.into_iter().map(|(_, name)| name).collect(),
    }
}

fn names(validation: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<AltName> {
    let path = path.field("subjectAltNames");
    let mut names = Vec::new();
    for (position, item) in validation.list("subjectAltNames").iter().enumerate() {
        let here = path.item(position);
        let (needed, other) = match item.text_of("type") {
            Some("Hostname") => ("hostname", "uri"),
            Some("URI") => ("uri", "hostname"),
            _ => continue,
        };
        if let Some(field) = item.field(other) {
            report.unexpected(field.at, &here.field(other), "is of another type", format!("no {other}"));
        }
        match item.text_of(needed).map(str::to_owned) {
            Some(name) if needed == "hostname" => names.push(AltName::Dns(name)),
            Some(name) => names.push(AltName::Uri(name)),
            None => report.unexpected(item.at, &here.field(needed), "is missing", "the name"),
        }
    }
    names
}
