//! The contract between the planes.
