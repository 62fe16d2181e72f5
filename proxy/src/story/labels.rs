//! What is said of requests to a cluster beside the usual, by the word of a policy; and what one request has for it.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderName;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{LABEL_VALUE_BYTES_MAX, LABELS_MAX, Label, LabelSource};

/// The labels of a cluster.
#[derive(Debug, Default)]
pub struct Labels(Vec<(Arc<str>, Source)>);

#[derive(Debug)]
enum Source {
    Value(String),
    Header(HeaderName),
}

impl Labels {
    /// As a policy has them, which has been checked.
    pub fn new(labels: &[Label]) -> Self {
        let read = |label: &Label| {
            let source = match &label.from {
                LabelSource::Value(value) => Source::Value(value.clone()),
                LabelSource::Header(header) => Source::Header(header.parse().ok()?),
            };
            Some((label.name.as_str().into(), source))
        };
        Self(labels.iter().take(LABELS_MAX).filter_map(read).collect())
    }

    /// Whether a head may have any of their values.
    pub(super) fn are_looked_for(&self) -> bool {
        self.0.iter().any(|(_, source)| matches!(source, Source::Header(_)))
    }

    /// Each that a request has, and its value.
    pub(super) fn of<'a>(&'a self, found: &'a Found) -> impl Iterator<Item = (&'a Arc<str>, Cow<'a, str>)> {
        self.0.iter().enumerate().filter_map(|(index, (name, source))| {
            let value = match source {
                Source::Value(value) => value.into(),
                Source::Header(_) => String::from_utf8_lossy(found.value(index)?),
            };
            Some((name, value))
        })
    }
}

/// What one request has in the headers that labels name: copied, as its head goes on, into room that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Found {
    bytes: Vec<u8>,
    /// Where each value begins and ends.
    places: [Option<(u16, u16)>; LABELS_MAX],
}

impl Found {
    /// The same room, without what stands there.
    pub(super) fn cleared(mut self) -> Self {
        self.bytes.clear();
        Self { bytes: self.bytes, places: Default::default() }
    }

    /// Looks into a head.
    pub(super) fn look(&mut self, labels: &Labels, head: &RequestHead) {
        for ((_, source), place) in labels.0.iter().zip(&mut self.places) {
            let Source::Header(name) = source else { continue };
            let Some(value) = head.header(name) else { continue };
            let begin = self.bytes.len() as u16;
            self.bytes.extend(value.as_bytes().iter().take(LABEL_VALUE_BYTES_MAX));
            *place = Some((begin, self.bytes.len() as u16));
        }
    }

    fn value(&self, index: usize) -> Option<&[u8]> {
        let (begin, end) = (*self.places.get(index)?)?;
        self.bytes.get(begin.into()..end.into())
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;
    use http::{HeaderMap, Method};

    use super::*;

    fn header(name: &str, header: &str) -> Label {
        Label { name: name.to_owned(), from: LabelSource::Header(header.to_owned()) }
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let path = PathAndQuery::from_static("/");
        RequestHead::new(Method::GET, "cart".parse().unwrap(), path, fields.collect::<HeaderMap>())
    }

    fn said(labels: &Labels, found: &Found) -> Vec<(String, String)> {
        labels.of(found).map(|(name, value)| (name.to_string(), value.into_owned())).collect()
    }

    #[test]
    fn values_are_those_of_one_request_and_cut() {
        let constant = Label { name: "team".to_owned(), from: LabelSource::Value("shop".to_owned()) };
        let labels = Labels::new(&[header("a", "x-a"), constant, header("b", "x-b")]);
        let long = "x".repeat(LABEL_VALUE_BYTES_MAX + 1);
        let mut found = Found::default();
        found.look(&labels, &head(&[("x-a", "1"), ("x-b", &long), ("x-c", "no")]));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let all = [pair("a", "1"), pair("team", "shop"), pair("b", &long[1..])];
        assert_eq!(said(&labels, &found), all);
        let mut found = found.cleared();
        found.look(&labels, &head(&[("x-b", "2")]));
        assert_eq!(said(&labels, &found), [pair("team", "shop"), pair("b", "2")]);
    }

    #[test]
    fn what_no_header_says_is_not_looked_for() {
        let constant = Label { name: "team".to_owned(), from: LabelSource::Value("shop".to_owned()) };
        assert!(!Labels::new(&[]).are_looked_for() && !Labels::new(&[constant]).are_looked_for());
        assert!(Labels::new(&[header("a", "x-a")]).are_looked_for());
    }
}
