//! What a rule may do to a request. A filter is plain data, built once per plan; it never waits and opens no socket.
//!
//! The catalogue, in no order of its own (the operator's order counts): [`headers`] edits fields, [`redirect`] answers, [`rewrite`]
//! changes host and path, [`rate_limit`] refuses what comes too fast, [`fault`] injects faults. [`chain::FilterChain`] runs them; [`layer::FilterLayer`] puts the chain of the rule that was found into a
//! tower stack.

pub mod chain;
pub mod context;
pub mod fault;
pub mod headers;
pub mod layer;
pub mod rate_limit;
pub mod redirect;
pub mod rewrite;

pub use chain::{FilterChain, FilterError};
pub use context::{Context, Flow};
pub use rate_limit::RateLimits;
