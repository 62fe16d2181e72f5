//! The shapes of `gateway.networking.k8s.io/v1` `TCPRoute` and `TLSRoute`: every field of v1.6, of both channels.

use super::super::text::Text;
use super::http_route::{LIST_MAX, PARENTS_MAX};
use super::resource::{PARENT_GROUPS, PARENT_KINDS, SERVICE_GROUPS, SERVICE_KINDS};
use super::service::{PORT, WEIGHT_MAX};
use super::{Object, Shape, optional, required, unsupported};

/// `spec` of a `TCPRoute`.
pub(crate) static TCP_SPEC: Object = Object {
    fields: &[
        required("parentRefs", PARENTS, "the gateways and services whose connections the route takes"),
        required("rules", RULES, "where they go; there is nothing to tell them apart by"),
        unsupported("useDefaultGateways", "attaching to default gateways"),
    ],
};

/// `spec` of a `TLSRoute`.
pub(crate) static TLS_SPEC: Object = Object {
    fields: &[
        required("parentRefs", PARENTS, "the gateways and services whose connections the route takes"),
        required(
            "hostnames",
            Shape::List {
                of: &Shape::Text(Text::HostPattern),
                least: 1,
                most: outrigger_snapshot::validate::HOSTNAMES_MAX,
            },
            "the hosts that clients ask for (SNI); a first label of `*` stands for one label or more",
        ),
        required("rules", RULES, "where connections for these hosts go"),
        unsupported("useDefaultGateways", "attaching to default gateways"),
    ],
};

const PARENTS: Shape = Shape::List { of: &Shape::Object(&PARENT), least: 1, most: PARENTS_MAX };

static PARENT: Object = Object {
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
            "its listeners or its port of this number; without either, all of the route's protocol",
        ),
    ],
};

const RULES: Shape = Shape::List { of: &Shape::Object(&RULE), least: 1, most: 1 };

static RULE: Object = Object {
    fields: &[
        optional("name", Shape::Text(Text::Labels), "its name; the position from 0 if absent"),
        required(
            "backendRefs",
            Shape::List { of: &Shape::Object(&BACKEND), least: 1, most: LIST_MAX },
            "where a connection goes; where all weights are 0, it is refused",
        ),
    ],
};

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
        required("port", PORT, "the port of the Service, of protocol TCP or TLS"),
        optional("weight", Shape::Integer { least: 0, most: WEIGHT_MAX }, "the share; 1 if absent"),
    ],
};
