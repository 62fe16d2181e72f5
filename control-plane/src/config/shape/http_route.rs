//! The shape of `gateway.networking.k8s.io/v1` `HTTPRoute`: every field of v1.6, of both channels.

use super::super::text::Text;
use super::backend_policy::resilience::{ATTEMPTS, STATUSES};
use super::resource::{PARENT_GROUPS, PARENT_KINDS, SERVICE_GROUPS, SERVICE_KINDS};
use super::service::{PORT, WEIGHT_MAX};
use super::{Field, Object, Shape, Word, optional, required, unsupported, unsupported_word, word};

// The bounds of the Gateway API v1.
pub(super) const PARENTS_MAX: usize = 32;
pub(super) const HOSTNAMES_MAX: usize = 16;
pub(super) const RULES_MAX: usize = 16;
pub(super) const MATCHES_MAX: usize = 64;
/// Matches of all rules of one route.
pub(crate) const ROUTE_MATCHES_MAX: usize = 128;
pub(super) const LIST_MAX: usize = 16;

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

/// The hosts of a route.
pub(super) const HOSTNAMES: Field = optional(
    "hostnames",
    Shape::List { of: &Shape::Text(Text::HostPattern), least: 0, most: HOSTNAMES_MAX },
    "the hosts that it is for, where the parent is a Gateway; absent, those of its listeners; without effect where the parent is a Service, as GAMMA has it",
);

pub(super) static PARENT: Object = Object {
    fields: &[
        optional(
            "group",
            Shape::Choice(&PARENT_GROUPS),
            "the group of the parent: \"\" for a Service, which must be written; that of Gateway if absent",
        ),
        optional("kind", Shape::Choice(&PARENT_KINDS), "`Gateway` if absent"),
        optional("namespace", Shape::Text(Text::Label), "the namespace of the parent; the route's if absent"),
        required("name", Shape::Text(Text::Label), "the name of a Gateway or Service"),
        optional("sectionName", Shape::Text(Text::Label), "one listener or port of it, by name"),
        optional(
            "port",
            PORT,
            "its listeners or its port of this number; without either, all that carry HTTP",
        ),
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
            "where the request goes; without any, and where all weights are 0, the answer is 500",
        ),
        optional("timeouts", Shape::Object(&TIMEOUTS), "time limits; the backend's if absent"),
        optional(
            "retry",
            Shape::Object(&RETRY),
            "when a request is sent again; as the backend has it if absent",
        ),
        unsupported("sessionPersistence", "sticky sessions"),
    ],
};

static MATCH: Object = Object {
    fields: &[
        optional("path", Shape::Object(&PATH_MATCH), "on the path; `PathPrefix` `/` if absent"),
        optional(
            "headers",
            Shape::List { of: &Shape::Object(&HEADER_MATCH), least: 0, most: LIST_MAX },
            "on headers; all must match",
        ),
        optional(
            "queryParams",
            Shape::List { of: &Shape::Object(&QUERY_MATCH), least: 0, most: LIST_MAX },
            "on query parameters; all must match",
        ),
        optional("method", Shape::Choice(&METHODS), "on the method"),
    ],
};

static PATH_MATCH: Object = Object {
    fields: &[
        optional("type", Shape::Choice(&PATH_TYPES), "`PathPrefix` if absent"),
        optional(
            "value",
            Shape::Text(Text::Any),
            "`/` if absent; a regular expression must match the whole path",
        ),
    ],
};

static PATH_TYPES: [Word; 3] = [word("Exact"), word("PathPrefix"), word("RegularExpression")];
pub(super) static VALUE_TYPES: [Word; 2] = [word("Exact"), word("RegularExpression")];

pub(super) static HEADER_MATCH: Object = Object {
    fields: &[
        optional("type", Shape::Choice(&VALUE_TYPES), "`Exact` if absent"),
        required("name", Shape::Text(Text::HeaderName), "the header, in any case"),
        required(
            "value",
            Shape::Text(Text::HeaderValue),
            "its value, or a regular expression for the whole of it",
        ),
    ],
};

static QUERY_MATCH: Object = Object {
    fields: &[
        optional("type", Shape::Choice(&VALUE_TYPES), "`Exact` if absent"),
        required("name", Shape::Text(Text::HeaderName), "the parameter; case counts"),
        required("value", Shape::Text(Text::Any), "its value, or a regular expression for the whole of it"),
    ],
};

static METHODS: [Word; 9] = [
    word("GET"),
    word("HEAD"),
    word("POST"),
    word("PUT"),
    word("DELETE"),
    word("CONNECT"),
    word("OPTIONS"),
    word("TRACE"),
    word("PATCH"),
];

const FILTERS: Shape = Shape::List { of: &Shape::Object(&FILTER), least: 0, most: LIST_MAX };

static FILTER: Object = Object {
    fields: &[
        required("type", Shape::Choice(&FILTER_TYPES), "the kind of filter"),
        optional("requestHeaderModifier", Shape::Object(&HEADER_EDIT), "changes request headers"),
        optional("responseHeaderModifier", Shape::Object(&HEADER_EDIT), "changes response headers"),
        optional(
            "requestRedirect",
            Shape::Object(&REDIRECT),
            "answers with a redirect; not in a backend's filters",
        ),
        optional("urlRewrite", Shape::Object(&REWRITE), "changes host or path before forwarding"),
        unsupported("requestMirror", "a copy to another backend"),
        unsupported("cors", "cross-origin rules"),
        unsupported("externalAuth", "a decision by another service"),
        optional("extensionRef", Shape::Object(&EXTENSION), "a filter of its own kind, for `ExtensionRef`"),
    ],
};

/// The filters of our own that a route can name.
pub(super) static EXTENSION: Object = Object {
    fields: &[
        required("group", Shape::Choice(&EXTENSION_GROUPS), "the group of the filter"),
        required("kind", Shape::Choice(&EXTENSION_KINDS), "the kind of the filter"),
        required("name", Shape::Text(Text::Label), "a RouteFilter in the namespace of the route"),
    ],
};

static EXTENSION_GROUPS: [Word; 1] = [word("outrigger.dev")];
static EXTENSION_KINDS: [Word; 1] = [word("RouteFilter")];

static FILTER_TYPES: [Word; 8] = [
    word("RequestHeaderModifier"),
    word("ResponseHeaderModifier"),
    word("RequestRedirect"),
    word("URLRewrite"),
    word("ExtensionRef"),
    unsupported_word("RequestMirror"),
    unsupported_word("CORS"),
    unsupported_word("ExternalAuth"),
];

pub(super) static HEADER_EDIT: Object = Object {
    fields: &[
        optional("set", HEADERS, "replaced or added"),
        optional("add", HEADERS, "added beside what is there"),
        optional(
            "remove",
            Shape::List { of: &Shape::Text(Text::HeaderName), least: 0, most: LIST_MAX },
            "removed, before `set` and `add`",
        ),
    ],
};

const HEADERS: Shape = Shape::List { of: &Shape::Object(&HEADER), least: 0, most: LIST_MAX };

static HEADER: Object = Object {
    fields: &[
        required("name", Shape::Text(Text::HeaderName), "the header"),
        required("value", Shape::Text(Text::HeaderValue), "its value"),
    ],
};

static REDIRECT: Object = Object {
    fields: &[
        optional("scheme", Shape::Choice(&SCHEMES), "the request's if absent"),
        optional("hostname", Shape::Text(Text::Host), "the request's if absent"),
        optional("path", Shape::Object(&PATH_EDIT), "the request's if absent"),
        optional("port", PORT, "if absent, the scheme's own where a scheme is given, else the request's"),
        optional(
            "statusCode",
            Shape::Integer { least: 301, most: 308 },
            "301, 302, 303, 307 or 308; 302 if absent",
        ),
    ],
};

static SCHEMES: [Word; 2] = [word("http"), word("https")];

static REWRITE: Object = Object {
    fields: &[
        optional("hostname", Shape::Text(Text::Host), "the Host that the upstream sees"),
        optional("path", Shape::Object(&PATH_EDIT), "the path that the upstream sees"),
    ],
};

static PATH_EDIT: Object = Object {
    fields: &[
        required("type", Shape::Choice(&PATH_EDITS), "which part is replaced"),
        optional("replaceFullPath", Shape::Text(Text::Any), "replaces the whole path"),
        optional(
            "replacePrefixMatch",
            Shape::Text(Text::Any),
            "replaces the prefix that matched; every match of the rule must be a `PathPrefix`",
        ),
    ],
};

static PATH_EDITS: [Word; 2] = [word("ReplaceFullPath"), word("ReplacePrefixMatch")];

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
        required("port", PORT, "the port of the Service"),
        optional("weight", Shape::Integer { least: 0, most: WEIGHT_MAX }, "the share; 1 if absent"),
        optional("filters", FILTERS, "what is done to requests that go here, after the rule's filters"),
    ],
};

static TIMEOUTS: Object = Object {
    fields: &[
        optional("request", Shape::Text(Text::Duration), "for the whole request; 0s: none"),
        optional("backendRequest", Shape::Text(Text::Duration), "for one try; 0s: none; at most `request`"),
    ],
};

static RETRY: Object = Object {
    fields: &[
        optional("codes", STATUSES, "response statuses that are tried again; the backend's if absent"),
        optional("attempts", ATTEMPTS, "tries beyond the first; 0: none; the backend's if absent"),
        optional(
            "backoff",
            Shape::Text(Text::Duration),
            "the wait before the first retry is drawn from 0s to this, and doubles each time; the backend's if absent",
        ),
    ],
};
