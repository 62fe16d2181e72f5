//! The data plane.

pub mod cluster;
pub mod config;
