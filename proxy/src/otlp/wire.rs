//! Messages of protocol buffers, laid out as they go out, field by field (Protocol Buffers, "Encoding").
//!
//! OpenTelemetry's own exporters make each span three times over, as one of the SDK's, as one of the generated types and as bytes; that takes longer
//! than the request that it is about. See `docs/decisions/0017`.

use std::borrow::Cow;

/// A message that is being written.
#[derive(Debug)]
pub struct Message<'a>(pub &'a mut Vec<u8>);

/// What an attribute says.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Words.
    Text(&'a str),
    /// A whole number.
    Number(i64),
    /// One that need not be whole.
    Real(f64),
    /// Yes or no.
    Truth(bool),
}

/// How the value of a field is laid out.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl Message<'_> {
    /// A number, of fewer bytes the smaller it is.
    pub fn number(&mut self, field: u32, value: u64) {
        self.tag(field, Wire::Varint);
        self.varint(value);
    }

    /// A number of 64 bits.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, Wire::Fixed64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A number of 32 bits.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, Wire::Fixed32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Bytes, or a string.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.opens(field, value.len());
        self.0.extend_from_slice(value);
    }

    /// A message within this one.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Message<'_>)) {
        // Most are short: their length has one byte.
        self.opens(field, 0);
        let begins = self.0.len();
        write(&mut Message(self.0));
        let length = self.0.len() - begins;
        if let (Ok(length @ ..0x80), Some(place)) = (u8::try_from(length), self.0.get_mut(begins - 1)) {
            *place = length;
            return;
        }
        let written = self.0.split_off(begins);
        self.0.pop();
        self.varint(length as u64);
        self.0.extend_from_slice(&written);
    }

    /// The beginning of bytes, or of a message, of so many.
    pub fn opens(&mut self, field: u32, length: usize) {
        self.tag(field, Wire::Bytes);
        self.varint(length as u64);
    }

    /// `opentelemetry.proto.common.v1.KeyValue`.
    pub fn attribute(&mut self, field: u32, name: &str, value: Value<'_>) {
        self.message(field, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.value(2, value);
        });
    }

    /// `opentelemetry.proto.common.v1.AnyValue`.
    pub fn value(&mut self, field: u32, value: Value<'_>) {
        self.message(field, |any| match value {
            Value::Text(text) => any.bytes(1, text.as_bytes()),
            Value::Truth(truth) => any.number(2, truth.into()),
            // Negative ones take all ten bytes, as they do everywhere.
            Value::Number(number) => any.number(3, number as u64),
            Value::Real(real) => any.fixed64(4, real.to_bits()),
        });
    }

    fn tag(&mut self, field: u32, wire: Wire) {
        self.varint(u64::from(field << 3 | wire as u32));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What stands around all that is told of one signal: who tells. `ExportTraceServiceRequest` and `ExportLogsServiceRequest` have the same shape.
#[derive(Debug)]
pub struct Envelope {
    /// `ResourceSpans.resource`.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`.
    scope: Vec<u8>,
}

impl Envelope {
    /// The field of [`Envelope::around`]'s items.
    pub const ITEM: u32 = 2;

    /// Of one who is known by these attributes, and of what part of it tells.
    pub fn new<'a>(
        resource: impl IntoIterator<Item = (&'a str, Cow<'a, str>)>,
        scope: &str,
        version: &str,
    ) -> Self {
        let mut envelope = Self { resource: Vec::new(), scope: Vec::new() };
        Message(&mut envelope.resource).message(1, |message| {
            for (name, value) in resource {
                message.attribute(1, name, Value::Text(&value));
            }
        });
        Message(&mut envelope.scope).message(1, |message| {
            message.bytes(1, scope.as_bytes());
            message.bytes(2, version.as_bytes());
        });
        envelope
    }

    /// A whole request with these items, each of which is field [`Envelope::ITEM`].
    pub fn around(&self, items: &[u8]) -> Vec<u8> {
        let mut head = self.resource.clone();
        Message(&mut head).opens(2, self.scope.len() + items.len());
        head.extend_from_slice(&self.scope);
        let whole = head.len() + items.len();
        let mut out = Vec::with_capacity(whole + 16);
        Message(&mut out).opens(1, whole);
        out.extend_from_slice(&head);
        out.extend_from_slice(items);
        out
    }
}

#[cfg(test)]
mod tests;
