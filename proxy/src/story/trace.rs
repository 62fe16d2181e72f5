//! The trace that a request is part of, as its client says (W3C Trace Context §3.2).

use std::fmt;

use http::header::HeaderName;
use outrigger_snapshot::head::RequestHead;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// The trace that `head` names; what is none is passed over.
pub(super) fn of(head: &RequestHead) -> Option<TraceId> {
    let value = head.header(&TRACEPARENT)?.as_bytes();
    let whole = value.len() >= 55 && value[2] == b'-' && value[35] == b'-';
    let digits = value.get(3..35).filter(|_| whole)?;
    let mut id = 0_u128;
    for digit in digits {
        id = id << 4 | u128::from((*digit as char).to_digit(16)?);
    }
    (id != 0).then_some(TraceId(id))
}
