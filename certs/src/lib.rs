//! Identity and trust: certificates that prove who a sidecar is (SPIFFE X.509-SVIDs), the bundles by which others believe it, and TLS made
//! of both. No sockets and no clock: time is passed in.

#[cfg(feature = "issue")]
pub mod authority;
pub mod claim;
pub mod enrol;
pub mod files;
pub mod inspect;
pub mod mesh;
pub mod pem;
pub mod problem;
pub mod provider;
#[cfg(feature = "request")]
pub mod request;
pub mod revocation;
mod signatures;
mod signed;
pub mod svid;
pub mod trust;
pub mod verify;
pub mod web;
