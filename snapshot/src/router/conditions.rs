//! Conditions of a match beside the path: method, headers, query parameters.

use std::borrow::Cow;

use http::Method;
use http::header::HeaderName;
use regex::bytes::{Regex, RegexBuilder};

use super::trial::Unmet;
use crate::head::RequestHead;
use crate::policy::{RouteMatch, TextMatch};

/// Memory that one compiled regular expression may take, in bytes.
pub(super) const REGEX_BYTES_MAX: usize = 256 * 1024;

/// What is wrong with a condition.
#[derive(Debug, thiserror::Error)]
pub enum ConditionError {
    /// Not a method (RFC 9110 §9.1).
    #[error("{0:?} is not a method")]
    Method(String),
    /// Not a field name (RFC 9110 §5.1).
    #[error("{0:?} is not a header name")]
    Header(String),
    /// Not a regular expression, or one that needs too much memory.
    #[error("{pattern:?} is not a usable regular expression")]
    Regex {
        /// The pattern.
        pattern: String,
        /// What the compiler said.
        #[source]
        error: regex::Error,
    },
}

/// A regular expression that must match a whole text.
#[derive(Debug)]
pub(super) struct WholeMatch(Regex);

impl WholeMatch {
    pub(super) fn compile(pattern: &str) -> Result<Self, ConditionError> {
        compile_bounded(&format!("^(?:{pattern})$"))
            .map(Self)
            .map_err(|error| ConditionError::Regex { pattern: pattern.to_owned(), error })
    }

    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

/// Gives up where a regular expression passes the bound: far beyond it, a short one takes seconds.
fn compile_bounded(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build()
}

/// Checks that a pattern can stand in a route.
pub fn check_regex(pattern: &str) -> Result<(), ConditionError> {
    // Alone first: `^(?:` and `)$` would make a whole of some patterns that are none.
    compile_bounded(pattern).map_err(|error| ConditionError::Regex { pattern: pattern.to_owned(), error })?;
    WholeMatch::compile(pattern).map(|_| ())
}

#[derive(Debug)]
enum TextCondition {
    Exact(Box<str>),
    Regex(WholeMatch),
}

impl TextCondition {
    fn compile(text: &TextMatch) -> Result<Self, ConditionError> {
        match text {
            TextMatch::Exact(text) => Ok(Self::Exact(text.as_str().into())),
            TextMatch::Regex(pattern) => WholeMatch::compile(pattern).map(Self::Regex),
        }
    }

    fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => expected.as_bytes() == text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// All of them must hold.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    method: Option<Method>,
    headers: Vec<(HeaderName, TextCondition)>,
    query: Vec<(Box<str>, TextCondition)>,
}

impl Conditions {
    pub(super) fn compile(route_match: &RouteMatch) -> Result<Self, ConditionError> {
        let method = route_match.method.as_ref().map(|method| {
            Method::from_bytes(method.as_bytes()).map_err(|_| ConditionError::Method(method.clone()))
        });
        let mut conditions = Self { method: method.transpose()?, ..Self::default() };
        for header in &route_match.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| ConditionError::Header(header.name.clone()))?;
            conditions.headers.push((name, TextCondition::compile(&header.value)?));
        }
        for parameter in &route_match.query {
            let condition = TextCondition::compile(&parameter.value)?;
            conditions.query.push((parameter.name.as_str().into(), condition));
        }
        Ok(conditions)
    }

    pub(super) fn hold(&self, head: &RequestHead) -> bool {
        self.method.as_ref().is_none_or(|method| method == head.method())
            && self.headers.iter().all(|(name, condition)| header_holds(head, name, condition))
            && self.query.iter().all(|(name, condition)| query_holds(head, name, condition))
    }
}

impl Conditions {
    /// The first that does not hold.
    pub(super) fn unmet(&self, head: &RequestHead) -> Option<Unmet> {
        let header =
            || self.headers.iter().position(|(name, condition)| !header_holds(head, name, condition));
        let query = || self.query.iter().position(|(name, condition)| !query_holds(head, name, condition));
        match &self.method {
            Some(method) if method != head.method() => Some(Unmet::Method),
            _ => header().map(Unmet::Header).or_else(|| query().map(Unmet::Query)),
        }
    }
}

/// Several lines of a field are one list (RFC 9110 §5.3).
fn header_holds(head: &RequestHead, name: &HeaderName, condition: &TextCondition) -> bool {
    let mut values = head.headers_named(name);
    let Some(first) = values.next() else { return false };
    let Some(second) = values.next() else {
        return condition.holds(first.as_bytes());
    };
    let mut joined = [first.as_bytes(), second.as_bytes()].join(&b", "[..]);
    for value in values {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value.as_bytes());
    }
    condition.holds(&joined)
}

/// Only the first parameter of a name counts.
fn query_holds(head: &RequestHead, name: &str, condition: &TextCondition) -> bool {
    let pairs =
        head.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(key, value)| (decode(key), value))
        .find(|(key, _)| *key == name.as_bytes())
        .is_some_and(|(_, value)| condition.holds(&decode(value)))
}

/// Undoes `application/x-www-form-urlencoded`; what is no valid escape stays as it is.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            (byte, _) => decoded.push(*byte),
        }
    }
    Cow::Owned(decoded)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
