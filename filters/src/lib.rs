//! What a rule may do to a request. A filter is plain data, built once per plan; it never waits and opens no socket.
//!
//! The catalogue, in no order of its own (the operator's order counts): [`headers`] edits fields, [`redirect`] answers, [`rewrite`]
//! changes host and path. [`chain::FilterChain`] runs them; [`layer::FilterLayer`] puts the chain of the rule that was found into a
//! tower stack.

pub mod chain;
pub mod context;
pub mod headers;
pub mod layer;
pub mod redirect;
pub mod rewrite;

pub use chain::{FilterChain, FilterError};
pub use context::{Context, Flow};
