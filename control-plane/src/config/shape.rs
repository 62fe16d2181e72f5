//! The shape of a resource as a table: the parser checks against it, the JSON Schemas and the documents are made from it.

use super::grpc_status;
use super::nearest::nearest;
use super::node::{Content, Entry, Node, Path, shortened};
use super::problem::{Problem, Problems, Spot};
use super::text::Text;

pub(crate) mod backend_policy;
pub(crate) mod backend_tls_policy;
pub(crate) mod config_map;
pub(crate) mod connection_route;
pub(crate) mod gateway;
pub(crate) mod grpc_route;
pub(crate) mod http_route;
pub(crate) mod inbound_policy;
pub(crate) mod mesh;
pub(crate) mod resource;
pub(crate) mod route_filter;
pub(crate) mod service;
pub(crate) mod telemetry_policy;
#[cfg(test)]
mod tests;
pub(crate) mod traffic_policy;

/// What a value must be.
#[derive(Debug)]
pub(crate) enum Shape {
    Text(Text),
    Integer {
        least: i64,
        most: i64,
    },
    Boolean,
    /// A gRPC status that is an error, by name or number.
    GrpcStatus,
    /// One of some words.
    Choice(&'static [Word]),
    List {
        of: &'static Self,
        least: usize,
        most: usize,
    },
    Object(&'static Object),
    /// Any names, each with a text: labels and annotations.
    Texts,
}

/// A word of a choice.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) name: &'static str,
    /// False: part of the Gateway API, but Outrigger cannot do it yet.
    pub(crate) supported: bool,
}

/// An object with known fields.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) fields: &'static [Field],
}

/// A field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) presence: Presence,
}

/// Whether a field may be there, and what it holds.
#[derive(Debug)]
pub(crate) enum Presence {
    Required(Shape),
    Optional(Shape),
    /// Checked and kept, without effect.
    Inert(Shape),
    /// Of the Gateway API, but Outrigger cannot do it yet.
    Unsupported,
    /// Written by a server; dropped.
    Ignored,
}

pub(crate) const fn required(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, about, presence: Presence::Required(shape) }
}

pub(crate) const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, about, presence: Presence::Optional(shape) }
}

pub(crate) const fn inert(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, about, presence: Presence::Inert(shape) }
}

pub(crate) const fn unsupported(name: &'static str, about: &'static str) -> Field {
    Field { name, about, presence: Presence::Unsupported }
}

pub(crate) const fn ignored(name: &'static str, about: &'static str) -> Field {
    Field { name, about, presence: Presence::Ignored }
}

pub(crate) const fn word(name: &'static str) -> Word {
    Word { name, supported: true }
}

pub(crate) const fn unsupported_word(name: &'static str) -> Word {
    Word { name, supported: false }
}

impl Field {
    /// What it holds, if it may be there at all.
    pub(crate) fn shape(&self) -> Option<&Shape> {
        match &self.presence {
            Presence::Required(shape) | Presence::Optional(shape) | Presence::Inert(shape) => Some(shape),
            Presence::Unsupported | Presence::Ignored => None,
        }
    }
}

/// Where problems go, and the file they are in.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) file: &'a str,
    pub(crate) problems: &'a mut Problems,
}

impl Report<'_> {
    pub(crate) fn add(&mut self, at: Spot, path: &Path<'_>, message: impl Into<String>) {
        self.problems.add(|| Problem::new(self.file, at, path, message));
    }

    pub(crate) fn unexpected(
        &mut self,
        at: Spot,
        path: &Path<'_>,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.problems.add(|| Problem::new(self.file, at, path, message).expected(expected));
    }
}

impl Shape {
    /// Reports everything in `node` that is not of this shape.
    pub(crate) fn check(&self, node: &Node, path: &Path<'_>, report: &mut Report<'_>) {
        match (self, &node.content) {
            (Self::Text(text), Content::Text(value)) => check_text(*text, value, node.at, path, report),
            (Self::Integer { least, most }, Content::Integer(value)) if (least..=most).contains(&value) => {}
            (Self::Boolean, Content::Boolean(_)) => {}
            (Self::GrpcStatus, Content::Integer(value)) if grpc_status::numbered(*value).is_some() => {}
            (Self::GrpcStatus, Content::Text(value)) => check_grpc_status(value, node.at, path, report),
            (Self::Choice(words), Content::Text(value)) => check_word(words, value, node.at, path, report),
            (Self::List { of, least, most }, Content::List(items)) => {
                check_length(items.len(), *least, *most, node.at, path, report);
                for (index, item) in items.iter().enumerate().take(*most) {
                    of.check(item, &path.item(index), report);
                }
            }
            (Self::Object(object), Content::Map(entries)) => object.check(node.at, entries, path, report),
            (Self::Texts, Content::Map(entries)) => {
                for entry in entries.iter().filter(|entry| entry.value.text().is_none()) {
                    report.unexpected(
                        entry.value.at,
                        &path.field(&entry.key),
                        format!("is {}", entry.value.described()),
                        "a text; put quotes around it",
                    );
                }
            }
            _ => report.unexpected(node.at, path, format!("is {}", node.described()), self.expected(node)),
        }
    }

    /// What this shape takes, for a sentence.
    fn expected(&self, node: &Node) -> String {
        let scalar = !matches!(node.content, Content::List(_) | Content::Map(_) | Content::Null);
        match self {
            Self::Text(text @ Text::Duration) => text.expected(),
            Self::Text(_) if scalar => "a text; put quotes around it".to_owned(),
            Self::Text(text) => format!("a text: {}", text.expected()),
            Self::Integer { least, most } => format!("a whole number from {least} to {most}"),
            Self::Boolean => "true or false".to_owned(),
            Self::GrpcStatus => grpc_status::EXPECTED.to_owned(),
            Self::Choice(words) => match &node.content {
                Content::Number(number) if words.iter().any(|word| word.name == number) => {
                    "a text; put quotes around it".to_owned()
                }
                _ => one_of(words),
            },
            Self::List { .. } => "a list".to_owned(),
            Self::Object(object) if scalar => format!("an object of {}", object.names()),
            Self::Object(_) => "an object".to_owned(),
            Self::Texts => "an object of texts".to_owned(),
        }
    }
}

impl Object {
    /// Its fields, for a sentence.
    fn names(&self) -> String {
        let known = self.fields.iter().filter(|field| field.shape().is_some());
        known.map(|field| field.name).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Reports everything in `node` that is not of this shape.
    pub(crate) fn check_node(&self, node: &Node, path: &Path<'_>, report: &mut Report<'_>) {
        self.check(node.at, node.entries(), path, report);
    }

    fn check(&self, at: Spot, entries: &[Entry], path: &Path<'_>, report: &mut Report<'_>) {
        for entry in entries {
            let here = path.field(&entry.key);
            match self.field(&entry.key).map(|field| &field.presence) {
                None => self.unknown(entry, &here, report),
                Some(Presence::Unsupported) if !entry.value.is_null() => {
                    report.add(entry.at, &here, "is not supported by Outrigger yet");
                }
                Some(Presence::Required(shape) | Presence::Optional(shape) | Presence::Inert(shape))
                    if !entry.value.is_null() =>
                {
                    shape.check(&entry.value, &here, report);
                }
                Some(_) => {}
            }
        }
        for field in self.fields {
            let Presence::Required(_) = field.presence else { continue };
            let present = entries.iter().any(|entry| entry.key == field.name && !entry.value.is_null());
            if !present {
                report.unexpected(at, &path.field(field.name), "is missing", field.about);
            }
        }
    }

    fn unknown(&self, entry: &Entry, path: &Path<'_>, report: &mut Report<'_>) {
        let known = self.fields.iter().filter(|field| field.shape().is_some()).map(|field| field.name);
        report.problems.add(|| {
            Problem::new(report.file, entry.at, path, "is not a field of this object")
                .expected(match known.clone().collect::<Vec<_>>().join(", ").as_str() {
                    "" => "no field".to_owned(),
                    names => format!("one of {names}"),
                })
                .nearest(nearest(&entry.key, known))
        });
    }
}

fn check_text(text: Text, value: &str, at: Spot, path: &Path<'_>, report: &mut Report<'_>) {
    if !text.accepts(value) {
        report.problems.add(|| {
            let message = match text {
                // It may be a key.
                Text::Pem => "is too long".to_owned(),
                _ => format!("\"{}\" is not valid", shortened(value)),
            };
            Problem::new(report.file, at, path, message)
                .expected(text.expected())
                .nearest(text.repaired(value))
        });
    }
}

fn check_grpc_status(value: &str, at: Spot, path: &Path<'_>, report: &mut Report<'_>) {
    if grpc_status::named(value).is_none() {
        report.problems.add(|| {
            Problem::new(report.file, at, path, format!("\"{}\" is no gRPC error", shortened(value)))
                .expected(grpc_status::EXPECTED)
                .nearest(nearest(value, grpc_status::NAMES))
        });
    }
}

fn check_word(words: &[Word], value: &str, at: Spot, path: &Path<'_>, report: &mut Report<'_>) {
    match words.iter().find(|word| word.name == value) {
        Some(word) if word.supported => {}
        Some(word) => report.unexpected(
            at,
            path,
            format!("{} is not supported by Outrigger yet", word.name),
            one_of(words),
        ),
        None => report.problems.add(|| {
            Problem::new(report.file, at, path, format!("\"{}\" is not known", shortened(value)))
                .expected(one_of(words))
                .nearest(nearest(value, words.iter().filter(|word| word.supported).map(|word| word.name)))
        }),
    }
}

fn check_length(
    length: usize,
    least: usize,
    most: usize,
    at: Spot,
    path: &Path<'_>,
    report: &mut Report<'_>,
) {
    if length < least || length > most {
        let expected = if least == 0 { format!("at most {most}") } else { format!("{least} to {most}") };
        report.unexpected(at, path, format!("has {length} items"), expected);
    }
}

fn one_of(words: &[Word]) -> String {
    let quoted = |word: &Word| if word.name.is_empty() { "\"\"".to_owned() } else { word.name.to_owned() };
    let names: Vec<String> = words.iter().filter(|word| word.supported).map(quoted).collect();
    match names.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", names.join(", ")),
    }
}
