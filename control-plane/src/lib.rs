//! Operators' intent in, snapshots out.
pub mod bootstrap;
