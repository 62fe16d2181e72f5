//! How heads name traces: W3C Trace Context, and B3 in one field or several.

use http::header::{HeaderName, HeaderValue};
use outrigger_snapshot::head::RequestHead;

use crate::digits;
use crate::story::{Trace, TraceId};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// The longest that is written.
const WRITTEN_BYTES_MAX: usize = 64;

/// Which of them are read and written; the first that says something counts. `tracestate` and `baggage` go on as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagators {
    w3c: bool,
    b3: bool,
    b3_multi: bool,
}

impl Default for Propagators {
    fn default() -> Self {
        Self { w3c: true, b3: false, b3_multi: false }
    }
}

impl Propagators {
    /// As `OTEL_PROPAGATORS` names them.
    pub fn read_names(text: &str) -> Result<Self, String> {
        let mut all = Self { w3c: false, b3: false, b3_multi: false };
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "tracecontext" => all.w3c = true,
                "b3" => all.b3 = true,
                "b3multi" => all.b3_multi = true,
                "baggage" | "none" => {}
                _ => {
                    return Err(format!(
                        "OTEL_PROPAGATORS has {name:?}, expected tracecontext, baggage, b3, b3multi or none"
                    ));
                }
            }
        }
        Ok(all)
    }

    /// The place in a trace that a head names; what is none is passed over. B3 may say whether to tell of a request without a place: that is
    /// one in the trace [`TraceId::NONE`].
    pub fn read(&self, head: &RequestHead) -> Option<Trace> {
        let w3c = || w3c(head);
        let b3 = || single(head.header(&B3)?.as_bytes());
        let found = if self.w3c { w3c() } else { None };
        let found = found.or_else(|| if self.b3 { b3() } else { None });
        found.or_else(|| if self.b3_multi { several(head) } else { None })
    }

    /// Names a trace, in it a span, and whether it is told of, in all ways.
    pub(super) fn write(
        &self,
        trace: &Trace,
        span: u64,
        told: bool,
        set: &mut dyn FnMut(HeaderName, HeaderValue),
    ) {
        let of_trace = |text: &mut String| digits::hex(text, trace.id.0.to_be_bytes());
        let of_span = |text: &mut String, span: u64| digits::hex(text, span.to_be_bytes());
        let both = |before: &str, after: &str| {
            value(|text| {
                text.push_str(before);
                of_trace(text);
                text.push('-');
                of_span(text, span);
                text.push_str(after);
            })
        };
        if self.w3c {
            set(TRACEPARENT, both("00-", if told { "-01" } else { "-00" }));
        }
        if self.b3 {
            set(B3, both("", if told { "-1" } else { "-0" }));
        }
        if self.b3_multi {
            set(B3_TRACE, value(of_trace));
            set(B3_SPAN, value(|text| of_span(text, span)));
            set(B3_PARENT, value(|text| of_span(text, trace.span)));
            set(B3_SAMPLED, HeaderValue::from_static(if told { "1" } else { "0" }));
        }
    }

    /// Takes away what a vendor keeps beside the name of a trace (W3C Trace Context §3.3), of one that was none.
    pub(super) fn forget_state(&self, head: &mut RequestHead) {
        if self.w3c {
            head.remove_header(&TRACESTATE);
        }
    }
}

/// Of W3C Trace Context alone, as it is where nobody is told of traces. Two that differ name none (§4.3).
pub fn w3c(head: &RequestHead) -> Option<Trace> {
    let name = TRACEPARENT;
    let mut values = head.headers_named(&name);
    let first = values.next()?;
    if values.all(|next| next == first) { traceparent(first.as_bytes()) } else { None }
}

fn value(write: impl FnOnce(&mut String)) -> HeaderValue {
    let mut text = String::with_capacity(WRITTEN_BYTES_MAX);
    write(&mut text);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// `version-traceid-parentid-flags` (W3C Trace Context §3.2.2): of a later version as much as this one knows.
fn traceparent(value: &[u8]) -> Option<Trace> {
    let version = lower_hex(value.get(..2)?)?;
    let ends = match (version, value.len()) {
        (0xff, _) => false,
        (0, length) => length == 55,
        (_, length) => length == 55 || value.get(55) == Some(&b'-'),
    };
    let whole = ends && [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    let (id, parent) = (lower_hex(value.get(3..35).filter(|_| whole)?)?, lower_hex(value.get(36..52)?)?);
    let flags = lower_hex(value.get(53..55)?)?;
    let trace = Trace { id: TraceId(id), parent: parent as u64, sampled: Some(flags & 1 == 1), span: 0 };
    (id != 0 && parent != 0).then_some(trace)
}

/// `traceid-spanid[-sampled[-parentspanid]]`, or `sampled` alone.
fn single(value: &[u8]) -> Option<Trace> {
    let mut parts = value.split(|byte| *byte == b'-');
    match (parts.next()?, parts.next()) {
        (sampled, None) => unplaced(decision(sampled)),
        (id, Some(parent)) => b3(id, parent, parts.next().and_then(decision)),
    }
}

fn several(head: &RequestHead) -> Option<Trace> {
    let debug = head.header(&B3_FLAGS).is_some_and(|flags| flags.as_bytes() == b"1");
    let sampled = head.header(&B3_SAMPLED).and_then(|sampled| decision(sampled.as_bytes()));
    let sampled = if debug { Some(true) } else { sampled };
    match (head.header(&B3_TRACE), head.header(&B3_SPAN)) {
        (Some(id), Some(parent)) => b3(id.as_bytes(), parent.as_bytes(), sampled),
        _ => unplaced(sampled),
    }
}

fn decision(sampled: &[u8]) -> Option<bool> {
    match sampled {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

/// Whoever has decided this names no trace.
fn unplaced(sampled: Option<bool>) -> Option<Trace> {
    sampled.map(|sampled| Trace { sampled: Some(sampled), ..Trace::root(TraceId::NONE) })
}

fn b3(id: &[u8], parent: &[u8], sampled: Option<bool>) -> Option<Trace> {
    let known = matches!(id.len(), 16 | 32) && parent.len() == 16;
    let (id, parent) = (hex(id, false).filter(|_| known)?, hex(parent, false)?);
    (id != 0 && parent != 0).then_some(Trace { id: TraceId(id), parent: parent as u64, sampled, span: 0 })
}

fn lower_hex(digits: &[u8]) -> Option<u128> {
    hex(digits, true)
}

/// The number, if all are digits of it.
fn hex(digits: &[u8], lower: bool) -> Option<u128> {
    let mut number = 0_u128;
    for digit in digits {
        if lower && digit.is_ascii_uppercase() {
            return None;
        }
        number = number << 4 | u128::from((*digit as char).to_digit(16)?);
    }
    Some(number)
}

#[cfg(test)]
mod tests;
