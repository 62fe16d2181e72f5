//! What the proxy tells of itself.

pub mod connections;
pub mod detail;
pub mod duration;
pub mod exemplar;
pub mod export;
pub mod exposition;
pub mod fading;
pub mod health;
pub mod kind;
pub mod kinds;
pub mod metrics;
pub mod overload;
pub mod process;
pub mod rate_limit;
pub mod requests;
pub mod seldom;
mod tries;
pub mod turn;
