//! The data plane.

pub mod cluster;
