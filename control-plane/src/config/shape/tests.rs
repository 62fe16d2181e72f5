//! The tables in `docs/` say what the parser does: they are compared with the shapes, and each row is driven through it.

use std::path::Path as FilePath;

use super::super::resource::Kind;
use super::{Field, Object, Presence, Shape, Word};

mod defaults;
mod rows;

/// A line of a table.
struct Row {
    path: String,
    field: &'static Field,
}

impl Row {
    fn status(&self) -> &'static str {
        match self.field.presence {
            Presence::Required(_) => "required",
            Presence::Optional(_) => "supported",
            Presence::Inert(_) => "no effect",
            Presence::Unsupported => "refused",
            Presence::Ignored => "ignored",
        }
    }

    fn line(&self) -> String {
        let takes = self.field.shape().map(takes).unwrap_or_default();
        format!("| `{}` | {} | {takes} | {} |", self.path, self.status(), self.field.about)
    }
}

/// Every field of a kind, parents first.
fn rows(kind: Kind) -> Vec<Row> {
    let mut rows = Vec::new();
    collect(kind.shape(), "", &mut rows);
    rows
}

fn collect(object: &Object, prefix: &str, rows: &mut Vec<Row>) {
    for field in object.fields {
        let path = format!("{prefix}{}", field.name);
        rows.push(Row { path: path.clone(), field });
        // A backend's filters are those of a rule; the table has them once.
        if !path.ends_with("backendRefs[].filters") {
            collect_below(field.shape(), &path, rows);
        }
    }
}

fn collect_below(shape: Option<&Shape>, path: &str, rows: &mut Vec<Row>) {
    match shape {
        Some(Shape::Object(object)) => collect(object, &format!("{path}."), rows),
        Some(Shape::List { of, .. }) => collect_below(Some(of), &format!("{path}[]"), rows),
        _ => {}
    }
}

fn takes(shape: &Shape) -> String {
    match shape {
        Shape::Text(super::Text::Only(only)) => format!("`{only}`"),
        Shape::Text(text) => text.expected(),
        Shape::Integer { least, most } => format!("{least} to {most}"),
        Shape::Boolean => "true or false".to_owned(),
        Shape::GrpcStatus => crate::config::grpc_status::EXPECTED.to_owned(),
        Shape::Choice(words) => choice(words),
        Shape::List { of, least: 0, most } => format!("at most {most}: {}", takes(of)),
        Shape::List { of, least, most } => format!("{least} to {most}: {}", takes(of)),
        Shape::Object(_) => "an object".to_owned(),
        Shape::Texts => "names and texts".to_owned(),
    }
}

fn choice(words: &[Word]) -> String {
    let named = |supported: bool| {
        let chosen = words.iter().filter(|word| word.supported == supported);
        chosen
            .map(|word| format!("`{}`", if word.name.is_empty() { "\"\"" } else { word.name }))
            .collect::<Vec<_>>()
    };
    let refused = named(false);
    let accepted = named(true).join(", ");
    if refused.is_empty() { accepted } else { format!("{accepted}; refused: {}", refused.join(", ")) }
}

fn document(name: &str) -> String {
    let path = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the table of `kind` in a document: those that begin with a field.
fn table_of(text: &str, kind: Kind) -> Vec<&str> {
    let section = text.split("\n## ").find(|section| section.starts_with(kind.name())).unwrap_or_default();
    section.lines().filter(|line| line.starts_with("| `")).collect()
}

fn assert_table(name: &str, kind: Kind) {
    let text = document(name);
    let expected: Vec<String> = rows(kind).iter().map(Row::line).collect();
    assert_eq!(
        table_of(&text, kind),
        expected,
        "the table of {kind} in docs/{name} should be\n{}\n",
        expected.join("\n")
    );
}

#[test]
fn the_table_of_the_gateway_api_is_what_the_parser_does() {
    for kind in [
        Kind::Gateway,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::TcpRoute,
        Kind::TlsRoute,
        Kind::BackendTlsPolicy,
        Kind::XBackendTrafficPolicy,
    ] {
        assert_table("GATEWAY-API.md", kind);
    }
}

#[test]
fn the_reference_is_what_the_parser_does() {
    for kind in [
        Kind::Mesh,
        Kind::Service,
        Kind::BackendPolicy,
        Kind::InboundPolicy,
        Kind::TelemetryPolicy,
        Kind::RouteFilter,
        Kind::ConfigMap,
    ] {
        assert_table("CONFIG.md", kind);
    }
}
