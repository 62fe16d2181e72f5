//! What is wrong with a push: one [`Problem`] each, all of them at once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Problems kept of one push; what is beyond is only counted.
pub const PROBLEMS_MAX: usize = 1_000;

/// A position in a text; both 1-based, 0 where the text is not at hand (a stored resource).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spot {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// One mistake in what an operator wrote: where it is, what it is, and what would be right.
///
/// Written `file:line:column: field: message; expected …; did you mean "…"?`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file, or the resource where it comes from a store.
    pub file: String,
    /// The line, from 1; 0 if there is no text.
    pub line: u32,
    /// The column in characters, from 1; 0 if there is no text.
    pub column: u32,
    /// The path of the field inside its resource, like `spec.rules[0].matches[1].path.value`; empty for the whole text.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The valid name nearest to the one that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl Problem {
    pub(crate) fn new(file: &str, at: Spot, field: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            field: field.to_string(),
            message: message.into(),
            expected: None,
            nearest: None,
        }
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn nearest(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.line != 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(formatter, ": {}", self.field)?;
        }
        write!(formatter, ": {}", self.message)?;
        if let Some(expected) = &self.expected {
            write!(formatter, "; expected {expected}")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(formatter, "; did you mean \"{nearest}\"?")?;
        }
        Ok(())
    }
}

/// Every mistake of a push, in the order of the text. Nothing of that push may be applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.text())]
pub struct Problems {
    problems: Vec<Problem>,
    /// Found beyond [`PROBLEMS_MAX`].
    omitted: usize,
}

impl Problems {
    /// The problems, sorted by file and position.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// How many there are, with those that were only counted.
    pub fn len(&self) -> usize {
        self.problems.len() + self.omitted
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were only counted, beyond [`PROBLEMS_MAX`].
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Adds one. It is made only if it is kept: finding the nearest name costs time, and hostile input has many mistakes.
    pub(crate) fn add(&mut self, problem: impl FnOnce() -> Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem());
        } else {
            self.omitted += 1;
        }
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.omitted += other.omitted;
        for problem in other.problems {
            self.add(|| problem);
        }
    }

    /// `value` if there is no problem.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self.sorted()) }
    }

    /// In the order of the text.
    pub(crate) fn sorted(mut self) -> Self {
        self.problems.sort();
        self.problems.dedup();
        self
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        if self.omitted > 0 {
            lines.push(format!("and {} more", self.omitted));
        }
        lines.join("\n")
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
