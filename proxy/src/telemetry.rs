//! What the proxy tells of itself.

pub mod exposition;
pub mod metrics;
