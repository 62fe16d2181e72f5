//! A request and its response on their way through the stack.

use std::rc::Rc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, header};
use outrigger_filters::Context;
use outrigger_filters::context::Answer;
use outrigger_filters::layer::{FilteredRequest, FilteredResponse};
use outrigger_snapshot::head::{RequestHead, ResponseHead};

use crate::http::body::Body;
use crate::http::upgrade::Upgraded;
use crate::lineage::Parent;
use crate::plan::Resolution;
use crate::story::Story;

/// A request that has met its rule.
#[derive(Debug)]
pub struct Exchange {
    /// Its head.
    pub head: RequestHead,
    /// Its body.
    pub body: Body,
    /// Its rule and destination.
    pub resolution: Resolution,
    /// What filters may know.
    pub context: Context,
    /// The protocol it wants to switch to.
    pub upgrade: Option<HeaderValue>,
    /// Whether the client takes trailers.
    pub trailers: bool,
    /// Whether it is a gRPC call.
    pub grpc: bool,
    /// After which nobody waits for the answer, on [`crate::clock`]; `u64::MAX`: none.
    pub deadline_ns: u64,
    /// When that was written into the head.
    pub told_ns: u64,
    /// What is known of it.
    pub story: Rc<Story>,
    /// The downstream peer, for hashing.
    pub peer: HeaderValue,
    /// Whether the answer goes to somebody outside the mesh.
    pub to_stranger: bool,
    /// The call to the workload on whose behalf it is made, as far as that can be told.
    pub parent: Option<Parent>,
}

/// The response.
#[derive(Debug)]
pub struct Reply {
    /// Its head.
    pub head: ResponseHead,
    /// Its body.
    pub body: Body,
    /// The upstream's side of a tunnel, with a 101.
    pub upgraded: Option<Box<Upgraded>>,
}

impl FilteredRequest for Exchange {
    type Filters = Resolution;

    /// On the way to the workload they are its rate limits. A health check that met these would find a busy workload dead, and so would all
    /// callers at a time.
    fn filters(&self) -> Option<Resolution> {
        let filtered = self.resolution.has_filters() && !self.resolution.rule.health.is_by(&self.head);
        filtered.then(|| self.resolution.clone())
    }

    fn head_and_context(&mut self) -> (&mut RequestHead, &mut Context) {
        (&mut self.head, &mut self.context)
    }
}

impl FilteredResponse for Reply {
    fn from_answer(answer: Answer) -> Self {
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        if let Some(location) = answer.location {
            headers.insert(header::LOCATION, location);
        }
        Self {
            head: ResponseHead::new(answer.status, headers),
            body: Body::Full(Bytes::new()),
            upgraded: None,
        }
    }

    fn head(&mut self) -> &mut ResponseHead {
        &mut self.head
    }
}
