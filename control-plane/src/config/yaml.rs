//! Text to trees: YAML 1.2 documents, and JSON as the part of YAML that it is.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, Tag};

use super::Source;
use super::node::{Content, Entry, Node, shortened};
use super::problem::{Problem, Problems, Spot};

/// Levels of nesting in a document.
pub const DEPTH_MAX: usize = 48;
/// Values in all texts of one push.
pub const NODES_MAX: usize = 2_000_000;
/// Values that the anchors and aliases of one push may repeat: few, so that some lines cannot unfold into millions.
pub const ALIAS_NODES_MAX: usize = 20_000;

/// What the rest of a push may still use.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: usize,
    repeated: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: NODES_MAX, repeated: ALIAS_NODES_MAX }
    }
}

/// The documents of a text, empty ones left out. A text that is not YAML yields the documents before the mistake.
pub(crate) fn documents(source: &Source, budget: &mut Budget, problems: &mut Problems) -> Vec<Node> {
    let mut options = granit_parser::options! {
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut builder = Builder {
        file: &source.name,
        budget,
        problems,
        documents: Vec::new(),
        open: Vec::new(),
        anchors: HashMap::new(),
    };
    for event in Parser::new_from_str_with_options(&source.text, options) {
        let taken = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                let at = spot(error.marker().line(), error.marker().col());
                Err(builder.stop(at, format!("cannot be read as YAML: {}", error.info())))
            }
        };
        if taken.is_err() {
            break;
        }
    }
    builder.documents
}

fn spot(line: usize, column: usize) -> Spot {
    let clamped = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Spot { line: clamped(line).max(1), column: clamped(column).saturating_add(1) }
}

/// The rest of a text cannot be read; why has been reported.
struct Stop;

/// A collection whose end has not come yet.
struct Open {
    at: Spot,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Spot)> },
}

struct Builder<'a> {
    file: &'a str,
    budget: &'a mut Budget,
    problems: &'a mut Problems,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let at = spot(span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), at)?;
                if let Some(key) = self.expected_key() {
                    *key = Some((text.into_owned(), at));
                    return Ok(());
                }
                let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let plain = style == ScalarStyle::Plain && !is_text;
                let content =
                    if plain { resolved(text.into_owned()) } else { Content::Text(text.into_owned()) };
                self.place(Node { at, content }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), at)?;
                self.start(Open { at, anchor, kind: OpenKind::List(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), at)?;
                self.start(Open { at, anchor, kind: OpenKind::Map { entries: Vec::new(), key: None } })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.repeat(id, at),
            _ => Ok(()),
        }
    }

    fn stop(&mut self, at: Spot, message: impl Into<String>) -> Stop {
        let file = self.file;
        self.problems.add(|| Problem::new(file, at, "", message));
        Stop
    }

    fn start(&mut self, open: Open) -> Result<(), Stop> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.stop(open.at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let content = match open.kind {
            OpenKind::List(items) => Content::List(items),
            OpenKind::Map { entries, .. } => {
                self.check_keys(&entries);
                Content::Map(entries)
            }
        };
        self.place(Node { at: open.at, content }, open.anchor)
    }

    /// Puts a finished value where it belongs: into the innermost open collection, or among the documents.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        let Some(left) = self.budget.nodes.checked_sub(1) else {
            return Err(self.stop(node.at, format!("more than {NODES_MAX} values in one push")));
        };
        self.budget.nodes = left;
        if anchor != 0 {
            self.spend_repeated(&node, node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None if node.is_null() => {}
            None => self.documents.push(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, key }) => match key.take() {
                Some((key, at)) => entries.push(Entry { key, at, value: node }),
                None => return Err(self.stop(node.at, "a key must be a text")),
            },
        }
        Ok(())
    }

    /// The place of the next key, where a key comes next.
    fn expected_key(&mut self) -> Option<&mut Option<(String, Spot)>> {
        match &mut self.open.last_mut()?.kind {
            OpenKind::Map { key, .. } if key.is_none() => Some(key),
            _ => None,
        }
    }

    fn repeat(&mut self, anchor: usize, at: Spot) -> Result<(), Stop> {
        // An alias inside its own anchor finds nothing: the anchored value is not finished.
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(self.stop(at, "this alias is part of the value that it repeats"));
        };
        self.spend_repeated(&node, at)?;
        self.place(Node { at, ..node }, 0)
    }

    fn spend_repeated(&mut self, node: &Node, at: Spot) -> Result<(), Stop> {
        match self.budget.repeated.checked_sub(count(node)) {
            Some(left) => {
                self.budget.repeated = left;
                Ok(())
            }
            None => {
                Err(self.stop(at, format!("anchors and aliases repeat more than {ALIAS_NODES_MAX} values")))
            }
        }
    }

    fn check_keys(&mut self, entries: &[Entry]) {
        let mut first: HashMap<&str, Spot> = HashMap::with_capacity(entries.len());
        for entry in entries {
            let Some(before) = first.insert(&entry.key, entry.at) else { continue };
            let (file, open) = (self.file, &self.open);
            self.problems.add(|| {
                let message = format!("is written before, in line {}", before.line);
                Problem::new(file, entry.at, path(open, &entry.key), message).expected("each key once")
            });
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, at: Spot) -> Result<(), Stop> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() => {
                Err(self.stop(at, format!("the tag {} is not known", shortened(&tag.original()))))
            }
            _ => Ok(()),
        }
    }
}

/// The way to `key` through the collections that are open around it.
fn path(open: &[Open], key: &str) -> String {
    let mut path = String::new();
    let field = |path: &mut String, name: &str| {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&shortened(name));
    };
    for open in open {
        match &open.kind {
            OpenKind::List(items) => path.push_str(&format!("[{}]", items.len())),
            OpenKind::Map { key: Some((name, _)), .. } => field(&mut path, name),
            OpenKind::Map { key: None, .. } => {}
        }
    }
    field(&mut path, key);
    path
}

fn count(node: &Node) -> usize {
    match &node.content {
        Content::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Content::Map(entries) => 1 + entries.iter().map(|entry| count(&entry.value)).sum::<usize>(),
        _ => 1,
    }
}

/// What a scalar without quotes means (YAML 1.2.2 §10.3.2, the core schema).
fn resolved(text: String) -> Content {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Boolean(true),
        "false" | "False" | "FALSE" => return Content::Boolean(false),
        _ => {}
    }
    match integer(&text) {
        Some(value) => Content::Integer(value),
        None if is_number(&text) => Content::Number(text),
        None => Content::Text(text),
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['+', '-']));
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with(['+', '-']));
    }
    text.parse().ok()
}

/// Whether a text is a number of the core schema, of any size: `[-+]? ( . digits | digits ( . digits? )? ) ( e sign? digits )?`.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let starts =
        unsigned.strip_prefix('.').unwrap_or(unsigned).starts_with(|first: char| first.is_ascii_digit());
    starts
        && unsigned.chars().all(|character| character.is_ascii_digit() || "+-.eE".contains(character))
        && unsigned.parse::<f64>().is_ok()
}
