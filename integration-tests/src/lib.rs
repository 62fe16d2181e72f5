//! The harness of the end-to-end tests: a mesh of real processes on one machine, applications that misbehave on request,
//! and a load generator that lets no failure go uncounted.
//!
//! Nothing here waits by sleeping: a wait is a condition with a deadline ([`eventually`]). Nothing is retried either; a
//! test that fails has found something.

pub mod app;
pub mod binaries;
pub mod client;
pub mod collector;
pub mod enrol;
pub mod frames;
pub mod gateway;
pub mod load;
pub mod mesh;
pub mod metrics;
pub mod netns;
pub mod pki;
pub mod port;
pub mod process;
pub mod terminal;
mod wait;
pub mod workload_api;

pub use app::App;
pub use client::{Answer, Failure};
pub use load::Load;
pub use mesh::{ControlPlane, Mesh, Proxy};
pub use metrics::Metrics;
pub use process::Process;
pub use terminal::Terminal;
pub use wait::{eventually, within};
