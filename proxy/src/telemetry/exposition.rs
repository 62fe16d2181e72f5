//! The Prometheus text format, version 0.0.4. Whoever has metrics takes an [`Exposition`], opens each of its families once or
//! several times, and adds samples; each family comes out as one block with one `HELP` and one `TYPE`, as the format asks.

use std::fmt::{self, Write};

/// What `Content-Type` to send with it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of one scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
}

/// Samples of one name.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    lines: String,
}

/// Samples of one histogram.
#[derive(Debug)]
pub struct Histogram<'a> {
    family: &'a mut Family,
}

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number, exact.
    Whole(u64),
    /// Any other, in base units.
    Real(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Exposition {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A count that only grows, without a unit or in base units. Its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, help, Kind::Counter)
    }

    /// A value that comes and goes.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, Kind::Gauge)
    }

    /// A distribution.
    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> Histogram<'_> {
        Histogram { family: self.family(name, help, Kind::Histogram) }
    }

    /// The text of the whole scrape. A family without samples is left out.
    pub fn finish(self) -> String {
        let bytes = self
            .families
            .iter()
            .map(|family| family.lines.len() + family.help.len() + 2 * family.name.len() + 32);
        let mut text = String::with_capacity(bytes.sum());
        for family in self.families.iter().filter(|family| !family.lines.is_empty()) {
            let Family { name, help, kind, lines } = family;
            let help = Escaped { text: help, quote: false };
            push(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}"));
        }
        text
    }

    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind) -> &mut Family {
        let known = self.families.iter().position(|family| family.name == name);
        let index = known.unwrap_or_else(|| {
            self.families.push(Family { name, help, kind, lines: String::new() });
            self.families.len() - 1
        });
        &mut self.families[index]
    }
}

impl Family {
    /// Adds a sample. Label names are ours; values may be anything.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) -> &mut Self {
        self.line("", labels, None, value.into());
        self
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: Value) {
        let name = self.name;
        push(&mut self.lines, format_args!("{name}{suffix}"));
        let bound = bound.map(|bound| ("le", bound));
        let mut opening = '{';
        for (label, text) in labels.iter().copied().chain(bound) {
            let text = Escaped { text, quote: true };
            push(&mut self.lines, format_args!("{opening}{label}=\"{text}\""));
            opening = ',';
        }
        if opening == ',' {
            self.lines.push('}');
        }
        push(&mut self.lines, format_args!(" {value}\n"));
    }
}

impl Histogram<'_> {
    /// Adds a distribution: `buckets` are upper bounds and the number of values up to each but above the one before;
    /// `beyond` counts those above the last, `sum` adds up all values.
    pub fn sample(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        beyond: u64,
        sum: f64,
    ) -> &mut Self {
        let mut count = 0_u64;
        for (bound, values) in buckets {
            count = count.wrapping_add(values);
            self.family.line("_bucket", labels, Some(&bound.to_string()), count.into());
        }
        count = count.wrapping_add(beyond);
        self.family.line("_bucket", labels, Some("+Inf"), count.into());
        self.family.line("_sum", labels, None, sum.into());
        self.family.line("_count", labels, None, count.into());
        self
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(value) => write!(formatter, "{value}"),
            Self::Real(value) if value == f64::INFINITY => formatter.write_str("+Inf"),
            Self::Real(value) if value == f64::NEG_INFINITY => formatter.write_str("-Inf"),
            Self::Real(value) => write!(formatter, "{value}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

struct Escaped<'a> {
    text: &'a str,
    quote: bool,
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.text.chars() {
            match character {
                '\\' => formatter.write_str("\\\\")?,
                '\n' => formatter.write_str("\\n")?,
                '"' if self.quote => formatter.write_str("\\\"")?,
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}

fn push(text: &mut String, what: fmt::Arguments<'_>) {
    // A String takes every write.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests;
