//! The contract between the planes.
pub mod facts;
pub mod name;
pub mod policy;
