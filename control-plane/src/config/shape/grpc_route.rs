//! The shape of `gateway.networking.k8s.io/v1` `GRPCRoute`: every field of v1.6, of both channels.

use super::super::text::Text;
use super::http_route::{
    EXTENSION, HEADER_EDIT, HEADER_MATCH, HOSTNAMES, LIST_MAX, MATCHES_MAX, PARENT, PARENTS_MAX, RULES_MAX,
    VALUE_TYPES,
};
use super::resource::{SERVICE_GROUPS, SERVICE_KINDS};
use super::service::{PORT, WEIGHT_MAX};
use super::{Object, Shape, Word, optional, required, unsupported, unsupported_word, word};

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required(
            "parentRefs",
            Shape::List { of: &Shape::Object(&PARENT), least: 1, most: PARENTS_MAX },
            "the gateways and services whose requests the route takes",
        ),
        HOSTNAMES,
        required(
            "rules",
            Shape::List { of: &Shape::Object(&RULE), least: 1, most: RULES_MAX },
            "what is done with which requests",
        ),
        unsupported("useDefaultGateways", "attaching to default gateways"),
    ],
};

static RULE: Object = Object {
    fields: &[
        optional("name", Shape::Text(Text::Labels), "unique in the route; the position from 0 if absent"),
        optional(
            "matches",
            Shape::List { of: &Shape::Object(&MATCH), least: 0, most: MATCHES_MAX },
            "any of them must match; absent, every request does",
        ),
        optional("filters", FILTERS, "what is done to the request and its response"),
        optional(
            "backendRefs",
            Shape::List { of: &Shape::Object(&BACKEND), least: 0, most: LIST_MAX },
            "where the request goes; without any, and where all weights are 0, the answer is UNAVAILABLE",
        ),
        unsupported("sessionPersistence", "sticky sessions"),
    ],
};

static MATCH: Object = Object {
    fields: &[
        optional("method", Shape::Object(&METHOD_MATCH), "on service and method; absent, all match"),
        optional(
            "headers",
            Shape::List { of: &Shape::Object(&HEADER_MATCH), least: 0, most: LIST_MAX },
            "on headers; all must match",
        ),
    ],
};

static METHOD_MATCH: Object = Object {
    fields: &[
        optional("type", Shape::Choice(&VALUE_TYPES), "`Exact` if absent"),
        optional(
            "service",
            Shape::Text(Text::Any),
            "the service with its package, or a regular expression for the whole of it; any if absent",
        ),
        optional(
            "method",
            Shape::Text(Text::Any),
            "the method, or a regular expression for the whole of it; any if absent",
        ),
    ],
};

const FILTERS: Shape = Shape::List { of: &Shape::Object(&FILTER), least: 0, most: LIST_MAX };

static FILTER: Object = Object {
    fields: &[
        required("type", Shape::Choice(&FILTER_TYPES), "the kind of filter"),
        optional("requestHeaderModifier", Shape::Object(&HEADER_EDIT), "changes request headers"),
        optional("responseHeaderModifier", Shape::Object(&HEADER_EDIT), "changes response headers"),
        unsupported("requestMirror", "a copy to another backend"),
        optional("extensionRef", Shape::Object(&EXTENSION), "a filter of its own kind, for `ExtensionRef`"),
    ],
};

static FILTER_TYPES: [Word; 4] = [
    word("RequestHeaderModifier"),
    word("ResponseHeaderModifier"),
    word("ExtensionRef"),
    unsupported_word("RequestMirror"),
];

static BACKEND: Object = Object {
    fields: &[
        optional("group", Shape::Choice(&SERVICE_GROUPS), "\"\", the group of Service, if absent"),
        optional("kind", Shape::Choice(&SERVICE_KINDS), "`Service` if absent"),
        optional(
            "namespace",
            Shape::Text(Text::Label),
            "the namespace of the Service; the route's if absent",
        ),
        required("name", Shape::Text(Text::Label), "the name of a Service"),
        required("port", PORT, "the port of the Service, of protocol GRPC or HTTP2"),
        optional("weight", Shape::Integer { least: 0, most: WEIGHT_MAX }, "the share; 1 if absent"),
        optional("filters", FILTERS, "what is done to requests that go here, after the rule's filters"),
    ],
};
