//! A response that switches protocols.

use std::time::Duration;

use http::header::{self, HeaderValue};
use http::response;
use outrigger_snapshot::head::ResponseHead;

use crate::error::ProxyError;
use crate::exchange::Reply;
use crate::http::body::Body;
use crate::http::normalize::{Marks, normalize_response};
use crate::http::upgrade::{Switch, Upgraded};
use crate::passage::Passage;
use crate::pool::Lease;

/// A 101 is passed on only if it says what was asked for (RFC 9110 §15.2.2).
pub(super) async fn switch(
    mut parts: response::Parts,
    marks: Marks,
    passage: Passage,
    upgrade: Option<Box<HeaderValue>>,
    idle: Option<Duration>,
) -> Result<Reply, ProxyError> {
    let agreed = parts.headers.get(header::UPGRADE).cloned();
    let matches = match (&upgrade, &agreed) {
        (Some(asked), Some(agreed)) => offers(asked, agreed),
        _ => false,
    };
    let (true, Lease::Http1 { switch, .. }, Some(agreed)) = (matches, &passage.lease, agreed) else {
        return Err(ProxyError::UnexpectedUpgrade);
    };
    let switch: Switch = switch.clone();
    let upstream = switch.socket().await.ok_or(ProxyError::UnexpectedUpgrade)?;
    normalize_response(&mut parts.headers, marks);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, agreed);
    let head = ResponseHead::new(parts.status, parts.headers);
    Ok(Reply { head, body: Body::Empty, upgraded: Some(Box::new(Upgraded { upstream, passage, idle })) })
}

/// Whether one of the protocols asked for is the one agreed on.
fn offers(asked: &HeaderValue, agreed: &HeaderValue) -> bool {
    let (Ok(asked), Ok(agreed)) = (asked.to_str(), agreed.to_str()) else { return false };
    asked.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case(agreed.trim()))
}
