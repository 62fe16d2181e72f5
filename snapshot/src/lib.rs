//! The contract between the planes.
pub mod facts;
pub mod head;
pub mod name;
pub mod policy;
pub mod router;
pub mod validate;
