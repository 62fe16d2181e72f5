//! The right to send one request.

use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::EndpointPool;
use super::http1::Idle;
use super::http2::Stream;
use crate::http::body::Body;
use crate::http::upgrade::Switch;

/// An HTTP/1.1 connection, or a stream of an HTTP/2 connection. Dropped without being released, the former is closed.
#[derive(Debug)]
pub enum Lease {
    /// A connection of its own.
    Http1 {
        /// Where it goes back to.
        pool: Rc<EndpointPool>,
        /// The connection.
        sender: hyper::client::conn::http1::SendRequest<Body>,
        /// Where the connection leaves its socket if the upstream switches protocols.
        switch: Switch,
    },
    /// A share of one.
    Http2(Stream),
}

impl Lease {
    /// Sends a request. The error gives it back if none of it was sent.
    pub async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Self::Http1 { sender, .. } => sender.try_send_request(request).await,
            Self::Http2(stream) => stream.send(request).await,
        }
    }

    /// The request is over and its response complete.
    pub fn release(self) {
        match self {
            Self::Http1 { pool, sender, switch } => Idle::put(&pool, sender, switch),
            Self::Http2(_) => {}
        }
    }
}
