//! The data plane. The request's way through it is told in [`stack`].

pub mod clock;
pub mod cluster;
pub mod config;
pub mod connect;
pub mod connection;
pub mod deadline;
pub mod error;
pub mod exchange;
pub mod forward;
pub mod http;
pub mod local_reply;
pub mod passage;
pub mod plan;
pub mod pool;
pub mod quarantine;
pub mod registry;
pub mod resolve;
pub mod source;
pub mod stack;
pub mod state_dir;
pub mod sweep;
pub mod telemetry;
pub mod worker;
