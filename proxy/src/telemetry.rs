//! What the proxy tells of itself.

pub mod connections;
pub mod export;
pub mod exposition;
pub mod health;
pub mod metrics;
pub mod overload;
pub mod rate_limit;
mod tries;
pub mod turn;
