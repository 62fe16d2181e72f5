//! The head of a request or a response, as router, filters and logs see it.
//!
//! They read and edit it only through these methods, so that the storage behind it can change: today a
//! [`http::HeaderMap`], for HTTP/1.1 one day the received bytes with a list of edits.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

pub use authority::{Authority, AuthorityError};

mod authority;

/// A request's head after normalisation: one authority, no hop-by-hop fields, no dot segments in the path.
#[derive(Debug, Clone)]
pub struct RequestHead {
    method: Method,
    authority: Authority,
    path_and_query: PathAndQuery,
    headers: HeaderMap,
}

impl RequestHead {
    /// Makes the `Host` field say what the authority says.
    pub fn new(
        method: Method,
        authority: Authority,
        path_and_query: PathAndQuery,
        headers: HeaderMap,
    ) -> Self {
        let mut head = Self { method, authority, path_and_query, headers };
        if head.headers.get(HOST) != Some(head.authority.as_header()) {
            head.headers.insert(HOST, head.authority.as_header().clone());
        }
        head
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Host and port that the request is for.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path without the query; starts with `/`, or is `*`.
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// The query without the `?`.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.query()
    }

    /// Path and query as they stand in the request line.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    /// The first value of a field.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
    }

    /// All values of a field, in order.
    pub fn headers_named(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.headers.get_all(name).iter()
    }

    /// The names of all fields, each once.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.keys()
    }

    /// Replaces a field, or adds it.
    pub fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Adds a value beside those that are there.
    pub fn add_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.append(name, value);
    }

    /// Removes every value of a field.
    pub fn remove_header(&mut self, name: &HeaderName) {
        self.headers.remove(name);
    }

    /// Sends the request as one for this authority.
    pub fn set_authority(&mut self, authority: Authority) {
        self.headers.insert(HOST, authority.as_header().clone());
        self.authority = authority;
    }

    /// Replaces path and query.
    pub fn set_path_and_query(&mut self, path_and_query: PathAndQuery) {
        self.path_and_query = path_and_query;
    }

    /// Takes the head apart, to be written to the wire.
    pub fn into_parts(self) -> (Method, Authority, PathAndQuery, HeaderMap) {
        (self.method, self.authority, self.path_and_query, self.headers)
    }
}

/// A response's head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    status: StatusCode,
    headers: HeaderMap,
}

impl ResponseHead {
    /// A head from its parts.
    pub fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Self { status, headers }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The first value of a field.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
    }

    /// Replaces a field, or adds it.
    pub fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Adds a value beside those that are there.
    pub fn add_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.append(name, value);
    }

    /// Removes every value of a field.
    pub fn remove_header(&mut self, name: &HeaderName) {
        self.headers.remove(name);
    }

    /// Takes the head apart, to be written to the wire.
    pub fn into_parts(self) -> (StatusCode, HeaderMap) {
        (self.status, self.headers)
    }
}
