//! The one client of the store layout.
