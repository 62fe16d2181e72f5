//! The filters of a rule or a backend.

use std::collections::{HashMap, HashSet};

use outrigger_snapshot::name::check_label;
use outrigger_snapshot::policy::{Filter, HeaderEdit, PathEdit, PathMatch, Redirect, Rewrite, RouteMatch};

use super::super::model::{Placed, RuleFilter};
use super::super::node::{Node, Path, shortened};
use super::super::shape::Report;
use super::super::text::check_path;

/// Headers that carry the framing and the target of a message: a filter that changed one would make a different message
/// of it (RFC 9110 §7.6.1, RFC 9112 §6).
const UNTOUCHABLE: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Filter types and the field that belongs to each.
const FIELDS: [(&str, &str); 5] = [
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("ExtensionRef", "extensionRef"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
];

/// What stands around a list of filters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Whether every match of the rule is on a path prefix.
    pub(super) prefixes: bool,
    /// Whether the list is a backend's.
    pub(super) in_backend: bool,
    /// Whether it is of a `GRPCRoute`, which has the first three types only.
    pub(super) grpc: bool,
}

/// Whether every match is on a path prefix.
pub(super) fn only_prefixes(matches: &[RouteMatch]) -> bool {
    matches.iter().all(|route_match| matches!(route_match.path, PathMatch::Prefix(_)))
}

/// The filters in `owner`, those with problems left out.
pub(super) fn read_all(
    owner: &Node,
    path: &Path<'_>,
    place: Place,
    report: &mut Report<'_>,
) -> Vec<RuleFilter> {
    let path = path.field("filters");
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut filters = Vec::new();
    for (index, item) in owner.list("filters").iter().enumerate() {
        let here = path.item(index);
        let Some(kind) = item.field("type") else { continue };
        let types = if place.grpc { &FIELDS[..3] } else { &FIELDS[..] };
        let Some(&(name, field)) = types.iter().find(|(name, _)| kind.text() == Some(name)) else {
            continue;
        };
        // Several may be named (Gateway API v1, `HTTPRouteFilter.extensionRef`).
        if name != "ExtensionRef"
            && let Some(other) = first.insert(name, index)
        {
            let message = format!("{name} stands in filters[{other}] too");
            report.unexpected(kind.at, &here.field("type"), message, "each type once");
        }
        if place.in_backend && name == "RequestRedirect" {
            let expected = "a redirect among the filters of the rule";
            report.unexpected(kind.at, &here.field("type"), "a backend cannot redirect", expected);
        }
        filters.extend(read(item, (name, field), index, &here, place, report));
    }
    if let (Some(_), Some(index)) = (first.get("RequestRedirect"), first.get("URLRewrite")) {
        let at = owner.list("filters").get(*index).map_or(owner.at, |filter| filter.at);
        report.unexpected(
            at,
            &path.item(*index),
            "nothing is left to rewrite: the rule redirects",
            "either RequestRedirect or URLRewrite",
        );
    }
    filters
}

fn read(
    node: &Node,
    (kind, field): (&str, &str),
    position: usize,
    path: &Path<'_>,
    place: Place,
    report: &mut Report<'_>,
) -> Option<RuleFilter> {
    for (other_kind, other) in FIELDS.into_iter().filter(|(_, other)| *other != field) {
        if let Some(stray) = node.field(other) {
            let message = format!("belongs to {other_kind}, and this is {kind}");
            report.unexpected(stray.at, &path.field(other), message, format!("only {field}"));
        }
    }
    let path = path.field(field);
    let Some(settings) = node.field(field) else {
        report.unexpected(node.at, &path, "is missing", format!("the settings of {kind}"));
        return None;
    };
    let own = match kind {
        "ExtensionRef" => return extension(settings, position).map(RuleFilter::Extension),
        "RequestHeaderModifier" => Some(Filter::RequestHeaders(header_edit(settings, &path, report))),
        "ResponseHeaderModifier" => Some(Filter::ResponseHeaders(header_edit(settings, &path, report))),
        "RequestRedirect" => redirect(settings, &path, place, report).map(Filter::Redirect),
        _ => rewrite(settings, &path, place, report).map(Filter::Rewrite),
    };
    own.map(RuleFilter::Own)
}

/// The `RouteFilter` that is named. `None` if that is no name or something else is, which has been reported.
fn extension(node: &Node, position: usize) -> Option<Placed<String>> {
    let ours = node.text_of("group") == Some("outrigger.dev") && node.text_of("kind") == Some("RouteFilter");
    let name = node.field("name").filter(|_| ours)?;
    let text = name.text().filter(|text| check_label(text).is_ok())?;
    Some(Placed { value: text.to_owned(), at: name.at, position })
}

fn header_edit(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> HeaderEdit {
    let mut edit = HeaderEdit::default();
    for (list, pairs) in [("set", &mut edit.set), ("add", &mut edit.add)] {
        let path = path.field(list);
        let mut seen = HashSet::new();
        for (index, item) in node.list(list).iter().enumerate() {
            let here = path.item(index);
            let (Some(name), Some(value)) = (item.field("name"), item.text_of("value")) else { continue };
            let Some(lower) = header_name(name, &here.field("name"), &mut seen, report) else { continue };
            pairs.push((lower, value.to_owned()));
        }
    }
    let removed = path.field("remove");
    let mut seen = HashSet::new();
    for (index, item) in node.list("remove").iter().enumerate() {
        edit.remove.extend(header_name(item, &removed.item(index), &mut seen, report));
    }
    if ["set", "add", "remove"].iter().all(|list| node.list(list).is_empty()) {
        report.unexpected(node.at, path, "changes nothing", "set, add or remove");
    }
    edit
}

fn header_name(
    node: &Node,
    path: &Path<'_>,
    seen: &mut HashSet<String>,
    report: &mut Report<'_>,
) -> Option<String> {
    let lower = node.text()?.to_ascii_lowercase();
    if UNTOUCHABLE.contains(&lower.as_str()) {
        let message =
            format!("{lower} carries the framing or the target of the message and cannot be edited");
        let expected = if lower == "host" { "urlRewrite.hostname" } else { "another header" };
        report.unexpected(node.at, path, message, expected);
    }
    if !seen.insert(lower.clone()) {
        report.unexpected(
            node.at,
            path,
            format!("\"{}\" stands twice", shortened(&lower)),
            "each header once",
        );
    }
    Some(lower)
}

fn redirect(node: &Node, path: &Path<'_>, place: Place, report: &mut Report<'_>) -> Option<Redirect> {
    let status = node.field("statusCode");
    let code = status.and_then(Node::integer).unwrap_or(302);
    if let (Some(status), 304..=306) = (status, code) {
        let expected = "301, 302, 303, 307 or 308";
        report.unexpected(status.at, &path.field("statusCode"), format!("{code} is no redirect"), expected);
    }
    let settings = ["scheme", "hostname", "path", "port", "statusCode"];
    if settings.iter().all(|name| node.field(name).is_none()) {
        let expected = "at least one of scheme, hostname, path, port, statusCode";
        report.unexpected(node.at, path, "says nothing", expected);
    }
    Some(Redirect {
        scheme: node.text_of("scheme").map(str::to_owned),
        host: node.text_of("hostname").map(str::to_owned),
        path: path_edit(node, path, place, report),
        port: node.field("port").and_then(super::port),
        status: u16::try_from(code).ok()?,
    })
}

fn rewrite(node: &Node, path: &Path<'_>, place: Place, report: &mut Report<'_>) -> Option<Rewrite> {
    if node.field("hostname").is_none() && node.field("path").is_none() {
        report.unexpected(node.at, path, "changes nothing", "hostname or path");
    }
    Some(Rewrite {
        host: node.text_of("hostname").map(str::to_owned),
        path: path_edit(node, path, place, report),
    })
}

fn path_edit(owner: &Node, path: &Path<'_>, place: Place, report: &mut Report<'_>) -> Option<PathEdit> {
    let node = owner.field("path")?;
    let path = path.field("path");
    let (wanted, other) = match node.text_of("type")? {
        "ReplaceFullPath" => ("replaceFullPath", "replacePrefixMatch"),
        "ReplacePrefixMatch" => ("replacePrefixMatch", "replaceFullPath"),
        _ => return None,
    };
    if let Some(stray) = node.field(other) {
        report.unexpected(
            stray.at,
            &path.field(other),
            "belongs to the other type",
            format!("only {wanted}"),
        );
    }
    let here = path.field(wanted);
    let Some(value) = node.field(wanted) else {
        report.unexpected(node.at, &here, "is missing", "the new path");
        return None;
    };
    let text = value.text()?;
    let prefix = wanted == "replacePrefixMatch";
    // A prefix may be replaced by nothing (Gateway API v1, `HTTPPathModifier`).
    if let Err(expected) = if prefix && text.is_empty() { Ok(()) } else { check_path(text) } {
        report.unexpected(value.at, &here, format!("\"{}\" is not a path", shortened(text)), expected);
    }
    if prefix && !place.prefixes {
        let expected = "a PathPrefix in every match of the rule";
        report.unexpected(value.at, &here, "there is no prefix to replace in every match", expected);
    }
    Some(if prefix { PathEdit::Prefix(text.to_owned()) } else { PathEdit::Full(text.to_owned()) })
}
