//! The shape of a `v1` `ConfigMap` that holds certificates of authorities.

use super::super::text::Text;
use super::{Object, Shape, ignored, inert, required, resource, unsupported};

/// The whole resource, which has no `spec`.
pub(crate) static WHOLE: Object = Object {
    fields: &[
        required("apiVersion", Shape::Text(Text::Only("v1")), "`v1`"),
        required("kind", Shape::Text(Text::Only("ConfigMap")), "`ConfigMap`"),
        required("metadata", Shape::Object(&resource::METADATA), "name and namespace"),
        required(
            "data",
            Shape::Texts,
            "certificates of authorities, in PEM, in `ca.crt`; what else is there is kept, without effect",
        ),
        inert("immutable", Shape::Boolean, "kept, without effect"),
        unsupported("binaryData", "data that is no text"),
        ignored("status", "written by a server"),
    ],
};
