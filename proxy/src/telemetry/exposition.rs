//! What a scrape gets. Whoever has metrics takes an [`Exposition`], opens each of its families once or several times, and adds samples;
//! each family comes out as one block, in the format that was asked for.

use std::collections::HashMap;
use std::fmt;

pub use self::format::Format;

mod format;
mod protobuf;
mod text;

/// All metrics of one scrape.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    families: Vec<Family>,
    /// Where each of them is. Names are ours, and few.
    known: HashMap<&'static str, usize>,
}

/// Samples of one name.
#[derive(Debug)]
pub struct Family {
    format: Format,
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// As `format` has them.
    samples: Vec<u8>,
}

/// Samples of one histogram.
#[derive(Debug)]
pub struct Histogram<'a> {
    family: &'a mut Family,
}

/// A distribution.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distribution {
    /// Upper bounds, and the number of values up to each but above the one before.
    pub buckets: Vec<(f64, u64)>,
    /// The number of values above the last.
    pub beyond: u64,
    /// All values together.
    pub sum: f64,
    /// The same by bounds that grow evenly. Text has no room for it.
    pub native: Option<Native>,
    /// Values that lead to a trace; by bucket, each at most once.
    pub exemplars: Vec<Exemplar>,
}

/// The buckets of a native histogram of Prometheus, of values that are not negative.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Native {
    /// Bounds are powers of 2^(2^-schema).
    pub schema: i32,
    /// What is taken for zero.
    pub zero_threshold: f64,
    /// How many of that there are.
    pub zero: u64,
    /// Buckets with values, by the power that is their upper bound, and how many values there are.
    pub buckets: Vec<(i32, u64)>,
}

/// A value whose trace is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// Its bucket; that after the last is for those beyond.
    pub bucket: usize,
    /// Its trace.
    pub trace: u128,
    /// What it is.
    pub value: f64,
    /// When it was, in milliseconds since 1970.
    pub at_unix_ms: u64,
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

impl Default for Exposition {
    fn default() -> Self {
        Self::of(Format::Text)
    }
}

impl Exposition {
    /// Nothing yet, in the text format.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing yet.
    pub fn of(format: Format) -> Self {
        Self { format, families: Vec::new(), known: HashMap::new() }
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

    /// The page, in whatever format it is. A family without samples is left out.
    pub fn page(self) -> Vec<u8> {
        let bytes = |family: &Family| family.samples.len() + family.help.len() + 2 * family.name.len() + 32;
        let mut page = Vec::with_capacity(self.families.iter().map(bytes).sum::<usize>() + 8);
        for family in self.families.iter().filter(|family| !family.samples.is_empty()) {
            match self.format {
                Format::Text | Format::OpenMetrics => text::family(family, &mut page),
                Format::Protobuf => protobuf::family(family, &mut page),
            }
        }
        if self.format == Format::OpenMetrics {
            page.extend_from_slice(text::END);
        }
        page
    }

    /// The page as text.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.page()).into_owned()
    }

    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind) -> &mut Family {
        let index = *self.known.entry(name).or_insert_with(|| {
            self.families.push(Family { format: self.format, name, help, kind, samples: Vec::new() });
            self.families.len() - 1
        });
        &mut self.families[index]
    }
}

impl Family {
    /// Adds a sample. Label names are ours; values may be anything.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) -> &mut Self {
        match self.format {
            Format::Text | Format::OpenMetrics => text::sample(self, labels, value.into()),
            Format::Protobuf => protobuf::sample(self, labels, value.into()),
        }
        self
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
        let buckets = buckets.into_iter().collect();
        self.distribution(labels, &Distribution { buckets, beyond, sum, ..Distribution::default() })
    }

    /// The same of one that has more to it.
    pub fn distribution(&mut self, labels: &[(&str, &str)], values: &Distribution) -> &mut Self {
        match self.family.format {
            Format::Text | Format::OpenMetrics => text::distribution(self.family, labels, values),
            Format::Protobuf => protobuf::distribution(self.family, labels, values),
        }
        self
    }
}

impl Value {
    fn real(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
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

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

#[cfg(test)]
mod tests;
