//! HTTP as it stands on the wire, and the one place beside [`crate::pool`] that knows hyper.

pub mod body;
pub mod failure;
pub mod forwarded;
pub mod gather;
pub mod heard;
pub mod io;
pub mod normalize;
pub mod replay;
pub mod server;
pub mod stream;
pub mod upgrade;
