//! What a connection speaks, by its first bytes.

pub mod asked;
pub mod client_hello;
pub mod spoken;
