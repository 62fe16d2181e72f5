//! How finely metrics are told apart, beyond what is always there.

/// Off by default: endpoints and callers may be many, and come and go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detail {
    /// `outrigger_endpoint_*`: by endpoint.
    pub endpoints: bool,
    /// `outrigger_caller_requests_total`: by the identity of the caller.
    pub callers: bool,
}
