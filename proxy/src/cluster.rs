//! Clusters: their endpoints, and how one of them is picked.

pub mod balance;
pub mod endpoint;
pub mod hash_ring;
