//! The data plane.

pub mod cluster;
pub mod config;
pub mod quarantine;
pub mod resolve;
pub mod source;
pub mod state_dir;
