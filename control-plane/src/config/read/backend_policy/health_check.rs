//! Active health checks.

use http::uri::PathAndQuery;
use outrigger_snapshot::policy::Probe;

use super::super::super::model::HealthCheckSettings;
use super::super::super::node::{Node, Path, shortened};
use super::super::super::shape::Report;
use super::super::amount::{limited, number};

pub(super) fn read(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<HealthCheckSettings> {
    let forms = ["http", "grpc", "tcp"];
    let given: Vec<&str> = forms.into_iter().filter(|name| node.field(name).is_some()).collect();
    if given.len() != 1 {
        let message =
            if given.is_empty() { "asks nothing".to_owned() } else { format!("has {}", given.join(" and ")) };
        report.unexpected(node.at, path, message, "exactly one of http, grpc, tcp");
    }
    let http = node.field("http").map(|http| self::http(http, &path.field("http"), report));
    let grpc = node
        .field("grpc")
        .map(|grpc| Probe::Grpc { service: grpc.text_of("service").unwrap_or_default().to_owned() });
    let tcp = node.field("tcp").map(|_| Probe::Tcp);
    let interval_ms = limited(node, "interval", 1, path, report);
    let fast_interval_ms = limited(node, "fastInterval", 1, path, report);
    let timeout_ms = limited(node, "timeout", 1, path, report);
    Some(HealthCheckSettings {
        probe: http.or(grpc).or(tcp)?,
        interval_ms,
        fast_interval_ms,
        timeout_ms,
        unhealthy: number(node, "unhealthy"),
        healthy: number(node, "healthy"),
        wait_for_first: node.field("waitForFirst").and_then(Node::boolean),
    })
}

fn http(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Probe {
    let written = node.field("path");
    let text = written.and_then(Node::text).unwrap_or("/");
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let usable = text.starts_with('/') && plain && text.parse::<PathAndQuery>().is_ok();
    if let (false, Some(written)) = (usable, written) {
        let message = format!("\"{}\" is not a path", shortened(text));
        let expected = "a path that starts with '/', with or without a query, without spaces";
        report.unexpected(written.at, &path.field("path"), message, expected);
    }
    Probe::Http { path: text.to_owned(), host: node.text_of("host").map(str::to_owned) }
}
