//! Identities as peers and files bring them, good and bad.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up fails")]

#[cfg(feature = "issue")]
mod authority;
mod enrol;
mod files;
mod made;
mod peers;
mod revocation;
mod web;
