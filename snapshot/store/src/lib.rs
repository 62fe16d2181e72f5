//! The one client of the store layout: an append-only sequence of numbered, immutable, signed records on a folder or a
//! bucket. Everybody reads; with the feature `write` a control plane pushes, publishes, recovers and collects.

mod folder;
mod open;
pub mod reader;
mod records;
mod store;
#[cfg(feature = "write")]
pub mod write;

pub use open::{OpenError, StoreUrl};
pub use store::{Store, StoreError};
