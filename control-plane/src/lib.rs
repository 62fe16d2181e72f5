//! Operators' intent in, snapshots out.
pub mod bootstrap;
pub mod compile;
pub mod config;
