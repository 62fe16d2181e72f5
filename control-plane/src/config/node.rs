//! A document as a tree that knows where each part was written.

use std::fmt;

use serde_json::Value;

use super::problem::Spot;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Spot,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Null,
    Boolean(bool),
    Integer(i64),
    /// A number that is no 64-bit integer. No field takes one; it is kept to say so.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Spot,
    pub(crate) value: Node,
}

impl Node {
    /// A tree without places, as it comes from a store.
    pub(crate) fn from_value(value: &Value) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(value) => Content::Boolean(*value),
            Value::Number(number) => {
                number.as_i64().map_or_else(|| Content::Number(number.to_string()), Content::Integer)
            }
            Value::String(text) => Content::Text(text.clone()),
            Value::Array(items) => Content::List(items.iter().map(Self::from_value).collect()),
            Value::Object(fields) => Content::Map(
                fields
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        at: Spot::default(),
                        value: Self::from_value(value),
                    })
                    .collect(),
            ),
        };
        Self { at: Spot::default(), content }
    }

    /// The value of a field. `null` is as good as absent, as in Kubernetes.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let found = self.entries().iter().find(|entry| entry.key == name)?;
        (!found.value.is_null()).then_some(&found.value)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none if this is not a list.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match self.content {
            Content::Integer(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.content {
            Content::Boolean(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The items of the list in field `name`; none if there is no such list.
    pub(crate) fn list(&self, name: &str) -> &[Self] {
        self.field(name).map_or(&[], Self::items)
    }

    /// The text in field `name`.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.field(name)?.text()
    }

    /// What kind of thing this is, for a sentence.
    pub(crate) fn described(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Boolean(value) => format!("the boolean {value}"),
            Content::Integer(value) => format!("the number {value}"),
            Content::Number(text) => format!("the number {}", shortened(text)),
            Content::Text(text) => format!("the text \"{}\"", shortened(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "an object".to_owned(),
        }
    }
}

/// Characters of an operator's text that are repeated in a message.
const QUOTED_CHARACTERS_MAX: usize = 80;

/// `text`, cut where it is too long for a message, on one line.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// The way from a resource to one of its fields; written `spec.rules[0].name`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

impl<'a> Path<'a> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(crate) fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    pub(crate) fn item(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Item(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(formatter)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if parent.parent.is_none() => formatter.write_str(&shortened(name)),
            Step::Field(name) => write!(formatter, ".{}", shortened(name)),
            Step::Item(index) => write!(formatter, "[{index}]"),
        }
    }
}
