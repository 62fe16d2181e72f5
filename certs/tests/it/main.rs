//! Identities as peers and files bring them, good and bad.

mod files;
mod made;
mod peers;
