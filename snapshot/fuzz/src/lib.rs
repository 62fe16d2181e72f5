//! What fuzz targets share: everything that a proxy does with the content of a scope, and how first bytes are cut.

pub mod content;
pub mod cut;
