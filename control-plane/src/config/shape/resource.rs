//! What every resource has.

use super::super::text::Text;
use super::{Object, Shape, Word, ignored, inert, optional, required, unsupported, unsupported_word, word};

/// `metadata`.
pub(crate) static METADATA: Object = Object {
    fields: &[
        required("name", Shape::Text(Text::Label), "the name, a DNS label"),
        optional("namespace", Shape::Text(Text::Label), "the namespace, a DNS label; `default` if absent"),
        inert("labels", Shape::Texts, "kept, without effect"),
        inert("annotations", Shape::Texts, "kept, without effect but for `outrigger.dev/revision`"),
        unsupported("generateName", "a name made by the server"),
        ignored("creationTimestamp", "written by a Kubernetes server"),
        ignored("deletionGracePeriodSeconds", "written by a Kubernetes server"),
        ignored("deletionTimestamp", "written by a Kubernetes server"),
        ignored("finalizers", "written by Kubernetes controllers"),
        ignored("generation", "written by a Kubernetes server"),
        ignored("managedFields", "written by a Kubernetes server"),
        ignored("ownerReferences", "written by Kubernetes controllers"),
        ignored("resourceVersion", "written by a Kubernetes server"),
        ignored("selfLink", "written by a Kubernetes server"),
        ignored("uid", "written by a Kubernetes server"),
    ],
};

/// Groups under which a `Service` of ours is named: the core group of Kubernetes, and our own.
pub(crate) static SERVICE_GROUPS: [Word; 3] =
    [word(""), word("outrigger.dev"), unsupported_word("gateway.networking.k8s.io")];

/// Groups of what a route attaches to.
pub(crate) static PARENT_GROUPS: [Word; 3] =
    [word("gateway.networking.k8s.io"), word(""), word("outrigger.dev")];

/// Kinds of what a route attaches to.
pub(crate) static PARENT_KINDS: [Word; 4] =
    [word("Gateway"), word("Service"), unsupported_word("ListenerSet"), unsupported_word("ServiceImport")];

/// The kinds that a policy or a backend may name.
pub(crate) static SERVICE_KINDS: [Word; 3] =
    [word("Service"), unsupported_word("Gateway"), unsupported_word("ServiceImport")];
