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
