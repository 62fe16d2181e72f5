//! What fuzz targets share: everything that a proxy does with the content of a scope.

pub mod content;
