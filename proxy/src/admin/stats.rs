//! `GET /stats`: every metric as a line of name and value, or those whose name matches.

use http::StatusCode;
use regex::{Regex, RegexBuilder};
use serde::Serialize;

use super::answer::Answer;
use crate::telemetry::exposition::Format as Exposed;

/// Longest filter, in bytes.
const FILTER_BYTES_MAX: usize = 512;
/// Memory that a filter may take, in bytes.
const FILTER_MEMORY_MAX: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Prometheus,
}

#[derive(Debug)]
struct Asked {
    filter: Option<Regex>,
    format: Format,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    stats: Vec<Stat<'a>>,
}

#[derive(Debug, Serialize)]
struct Stat<'a> {
    name: &'a str,
    value: Value<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Whole(u64),
    Real(f64),
    /// What JSON has no number for.
    Text(&'a str),
}

/// Answers `query` (`filter`, `format`) from a scrape's text.
pub(super) fn answer(scraped: &str, query: &str) -> Answer {
    let Asked { filter, format } = match Asked::read(query) {
        Ok(asked) => asked,
        Err(why) => return Answer::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| filter.is_match(name));
    let samples = scraped.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter_map(|line| line.rsplit_once(' ')).filter(|(name, _)| wanted(name));
    match format {
        Format::Text => {
            let lines: String = samples.map(|(name, value)| format!("{name}: {value}\n")).collect();
            Answer::text(StatusCode::OK, lines)
        }
        Format::Json => {
            let stats = samples.map(|(name, value)| Stat { name, value: Value::of(value) }).collect();
            Answer::serialized(&Shown { stats })
        }
        Format::Prometheus if filter.is_none() => {
            Answer::of(StatusCode::OK, Exposed::Text.content_type(), scraped.to_owned())
        }
        Format::Prometheus => {
            let lines: String = samples.map(|(name, value)| format!("{name} {value}\n")).collect();
            Answer::of(StatusCode::OK, Exposed::Text.content_type(), lines)
        }
    }
}

impl Asked {
    fn read(query: &str) -> Result<Self, String> {
        let mut asked = Self { filter: None, format: Format::Text };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("filter", pattern) => asked.filter = Some(filter(pattern)?),
                ("format", "text") => asked.format = Format::Text,
                ("format", "json") => asked.format = Format::Json,
                ("format", "prometheus") => asked.format = Format::Prometheus,
                ("format", _) => return Err("expected format=text, format=json or format=prometheus".into()),
                _ => return Err(format!("there is no parameter {name:?}: expected filter or format")),
            }
        }
        Ok(asked)
    }
}

fn filter(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > FILTER_BYTES_MAX {
        return Err(format!("filter is longer than {FILTER_BYTES_MAX} bytes"));
    }
    let mut builder = RegexBuilder::new(pattern);
    let built = builder.size_limit(FILTER_MEMORY_MAX).dfa_size_limit(FILTER_MEMORY_MAX).build();
    built.map_err(|error| format!("filter is no regular expression that can be used: {error}"))
}

impl<'a> Value<'a> {
    fn of(text: &'a str) -> Self {
        match (text.parse(), text.parse::<f64>()) {
            (Ok(whole), _) => Self::Whole(whole),
            (_, Ok(real)) if real.is_finite() => Self::Real(real),
            _ => Self::Text(text),
        }
    }
}
