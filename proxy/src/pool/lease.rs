//! The right to send one request.

use std::rc::Rc;

use futures_util::future::{Either, FutureExt};
use http::{Request, Response};

use super::EndpointPool;
use super::http1::Idle;
use super::http2::Stream;
use crate::error::ProxyError;
use crate::http::body::{Body, Incoming};
use crate::http::failure::upstream_failure;
use crate::http::upgrade::Switch;

/// Why there is no response.
#[derive(Debug)]
pub enum SendError {
    /// The connection was closed before any of the request was sent: it can go over another.
    Unsent(Box<Request<Body>>),
    /// The exchange failed.
    Failed(ProxyError),
}

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
    /// Sends a request; the future is for the response head. The request goes to hyper at once, so that the future does not hold it.
    pub fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<> {
        let sent = match self {
            Self::Http1 { sender, switch, .. } => {
                switch.hears(false);
                Either::Left(sender.try_send_request(request))
            }
            Self::Http2(stream) => Either::Right(stream.send(request)),
        };
        sent.map(|sent| {
            sent.map_err(|mut error| match error.take_message() {
                Some(request) => SendError::Unsent(Box::new(request)),
                None => SendError::Failed(upstream_failure(error.into_error())),
            })
        })
    }

    /// Says, before a request is sent, whether its response may switch protocols.
    pub fn may_switch(&self, may: bool) {
        if let Self::Http1 { switch, .. } = self {
            switch.want(may);
        }
    }

    /// Whether anything has come since a request was sent. Over HTTP/2 it is no answer before its head is complete.
    pub fn has_heard(&self) -> bool {
        match self {
            Self::Http1 { switch, .. } => switch.has_heard(),
            Self::Http2(_) => false,
        }
    }

    /// The request is over and its response complete.
    pub fn release(self, now_ns: u64) {
        match self {
            Self::Http1 { pool, sender, switch } => Idle::put(&pool, sender, switch, now_ns),
            Self::Http2(_) => {}
        }
    }
}
