//! Operators' intent in, snapshots out.
pub mod api;
pub mod bootstrap;
pub mod causes;
pub mod certificates;
pub mod cli;
pub mod compile;
pub mod config;
pub mod dashboard;
pub mod enrol;
pub mod overview;
pub mod peers;
mod reconcile;
pub mod reports;
pub mod schema;
pub mod server;
pub mod state;
