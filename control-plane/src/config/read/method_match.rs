//! The conditions of a rule on gRPC requests. A method is called by the path `/SERVICE/METHOD` (gRPC over HTTP/2, "Requests").

use outrigger_snapshot::policy::{PathMatch, RouteMatch};

use super::super::node::{Node, Path, shortened};
use super::super::shape::Report;
use super::route_match::{self, report_regex};

/// The matches of a rule; without any, the one that everything fulfils.
pub(super) fn read_all(rule: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<RouteMatch> {
    let path = path.field("matches");
    let items = rule.list("matches");
    if items.is_empty() {
        return vec![route_match::everything()];
    }
    let read = |(index, item): (usize, &Node)| {
        let path = path.item(index);
        RouteMatch {
            path: item
                .field("method")
                .and_then(|method| path_match(method, &path.field("method"), report))
                .unwrap_or_else(|| PathMatch::Prefix("/".to_owned())),
            method: None,
            headers: route_match::values(item, "headers", str::to_ascii_lowercase, &path, report),
            query: Vec::new(),
        }
    };
    items.iter().enumerate().map(read).collect()
}

fn path_match(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<PathMatch> {
    let given = |name| node.field(name).filter(|field| field.text().is_some_and(|text| !text.is_empty()));
    let (service, method) = (given("service"), given("method"));
    if service.is_none() && method.is_none() {
        report.unexpected(node.at, path, "names nothing", "service, method or both");
        return None;
    }
    if node.text_of("type") == Some("RegularExpression") {
        return Some(regex(node, service, method, path, report));
    }
    let mut exact = |name: &str, field: Option<&Node>, valid: fn(&str) -> bool, expected: &str| {
        let field = field?;
        let text = field.text()?;
        if !valid(text) {
            let message = format!("\"{}\" is not valid", shortened(text));
            report.unexpected(field.at, &path.field(name), message, expected);
        }
        Some(text.to_owned())
    };
    let service =
        exact("service", service, is_service, "the service with its package, like cart.v1.CartService");
    let method = exact("method", method, is_identifier, "letters, digits and '_', like GetCart");
    match (service, method) {
        (Some(service), Some(method)) => Some(PathMatch::Exact(format!("/{service}/{method}"))),
        (Some(service), None) => Some(PathMatch::Prefix(format!("/{service}"))),
        (None, Some(method)) => Some(PathMatch::Regex(format!("/[^/]+/{method}"))),
        (None, None) => None,
    }
}

fn regex(
    node: &Node,
    service: Option<&Node>,
    method: Option<&Node>,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> PathMatch {
    let before = report.problems.len();
    let mut part = |name: &str, field: Option<&Node>| {
        let text = field.and_then(Node::text).unwrap_or("[^/]+");
        report_regex(text, field, &path.field(name), report);
        format!("(?:{text})")
    };
    let whole = format!("/{}/{}", part("service", service), part("method", method));
    if report.problems.len() == before {
        report_regex(&whole, Some(node), path, report);
    }
    PathMatch::Regex(whole)
}

/// A service with its package (Gateway API v1, `GRPCMethodMatch`).
fn is_service(text: &str) -> bool {
    text.strip_prefix('.').unwrap_or(text).split('.').all(is_identifier)
}

/// An identifier of protocol buffers.
fn is_identifier(text: &str) -> bool {
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
