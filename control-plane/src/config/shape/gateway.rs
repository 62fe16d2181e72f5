//! The shape of `gateway.networking.k8s.io/v1` `Gateway`: every field of v1.6, of both channels.

use outrigger_snapshot::validate::{AUTHORITIES_MAX, CERTIFICATES_MAX, LISTENERS_MAX};

use super::super::text::Text;
use super::service::PORT;
use super::{Field, Object, Shape, Word, optional, required, unsupported, unsupported_word, word};

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required(
            "gatewayClassName",
            Shape::Text(Text::Labels),
            "any: the proxies of `--gateway` are the class",
        ),
        required(
            "listeners",
            Shape::List { of: &Shape::Object(&LISTENER), least: 1, most: LISTENERS_MAX },
            "what is taken on which ports",
        ),
        optional("tls", Shape::Object(&TLS), "what holds for the TLS of several listeners"),
        unsupported("addresses", "the addresses of the gateway: each proxy has that of `--gateway-address`"),
        unsupported("infrastructure", "what is made for a gateway: nothing is"),
        unsupported("allowedListeners", "listeners of other resources"),
        unsupported("defaultScope", "being the gateway of routes that name none"),
    ],
};

static LISTENER: Object = Object {
    fields: &[
        required(
            "name",
            Shape::Text(Text::Label),
            "unique in the gateway; what `sectionName` of routes names",
        ),
        optional(
            "hostname",
            Shape::Text(Text::HostPattern),
            "the hosts that it is for; a first label of `*` stands for one label or more; absent, all",
        ),
        required("port", PORT, "where proxies listen; listeners of one port differ in their hostname"),
        required(
            "protocol",
            Shape::Choice(&PROTOCOLS),
            "what is spoken; the same for all listeners of one port",
        ),
        optional("tls", Shape::Object(&LISTENER_TLS), "needed for HTTPS and TLS, and only there"),
        optional("allowedRoutes", Shape::Object(&ALLOWED), "which routes may attach"),
    ],
};

static PROTOCOLS: [Word; 5] =
    [word("HTTP"), word("HTTPS"), word("TLS"), word("TCP"), unsupported_word("UDP")];

static LISTENER_TLS: Object = Object {
    fields: &[
        optional(
            "mode",
            Shape::Choice(&MODES),
            "`Terminate` for HTTPS, `Passthrough` for TLS; `Terminate` if absent",
        ),
        optional(
            "certificateRefs",
            Shape::List { of: &Shape::Object(&CERTIFICATE), least: 1, most: CERTIFICATES_MAX },
            "the certificates that are shown, by the name that the client asks for, else the first; needed for HTTPS",
        ),
        optional(
            "options",
            Shape::Texts,
            "`outrigger.dev/min-version`: \"1.2\" or \"1.3\"; the former if absent",
        ),
    ],
};

static MODES: [Word; 2] = [word("Terminate"), word("Passthrough")];

/// A reference to a pair of certificate and key.
pub(super) static CERTIFICATE: Object = Object {
    fields: &[
        optional("group", Shape::Choice(&CORE), "\"\", the group of Secret, if absent"),
        optional(
            "kind",
            Shape::Choice(&SECRET),
            "`Secret` if absent: a folder of the proxy's `--certificates`",
        ),
        optional("namespace", Shape::Text(Text::Label), "that of the resource itself, which it is if absent"),
        required(
            "name",
            Shape::Text(Text::Label),
            "the name of the folder: `NAMESPACE/NAME/tls.crt` and `tls.key`",
        ),
    ],
};

pub(super) static CORE: [Word; 1] = [word("")];
static SECRET: [Word; 1] = [word("Secret")];

static ALLOWED: Object = Object {
    fields: &[
        optional("namespaces", Shape::Object(&NAMESPACES), "of which namespaces"),
        optional(
            "kinds",
            Shape::List { of: &Shape::Object(&ROUTE_KIND), least: 0, most: 8 },
            "of which kinds; absent or empty, all that the protocol takes",
        ),
    ],
};

static NAMESPACES: Object = Object {
    fields: &[
        optional("from", Shape::Choice(&FROM), "`Same` if absent: the gateway's own"),
        unsupported("selector", "namespaces by their labels"),
    ],
};

static FROM: [Word; 4] = [word("All"), word("Same"), unsupported_word("Selector"), unsupported_word("None")];

static ROUTE_KIND: Object = Object {
    fields: &[
        optional("group", Shape::Choice(&ROUTE_GROUPS), "`gateway.networking.k8s.io` if absent"),
        required("kind", Shape::Choice(&ROUTE_KINDS), "one that the listener's protocol takes"),
    ],
};

static ROUTE_GROUPS: [Word; 1] = [word("gateway.networking.k8s.io")];
static ROUTE_KINDS: [Word; 5] =
    [word("HTTPRoute"), word("GRPCRoute"), word("TCPRoute"), word("TLSRoute"), unsupported_word("UDPRoute")];

static TLS: Object = Object {
    fields: &[
        unsupported("backend", "one client certificate for all backends: `BackendPolicy` has it for each"),
        optional("frontend", Shape::Object(&FRONTEND), "what is asked of clients"),
    ],
};

static FRONTEND: Object = Object {
    fields: &[
        required("default", Shape::Object(&PORT_TLS), "on all ports of HTTPS that `perPort` does not name"),
        optional(
            "perPort",
            Shape::List { of: &Shape::Object(&PER_PORT), least: 0, most: LISTENERS_MAX },
            "on some ports in place of that",
        ),
    ],
};

static PER_PORT: Object = Object {
    fields: &[
        required("port", PORT, "one with listeners of HTTPS"),
        required("tls", Shape::Object(&PORT_TLS), "what is asked there; empty, nothing"),
    ],
};

static PORT_TLS: Object = Object {
    fields: &[optional(
        "validation",
        Shape::Object(&VALIDATION),
        "clients are asked for certificates; absent, they are not",
    )],
};

/// What is asked of clients.
pub(super) static VALIDATION: Object = Object {
    fields: &[
        required(
            "caCertificateRefs",
            Shape::List { of: &Shape::Object(&AUTHORITY), least: 1, most: AUTHORITIES_MAX },
            "who is believed about them",
        ),
        optional(
            "mode",
            Shape::Choice(&VALIDATION_MODES),
            "whether a client without a valid certificate is refused, or counts as one without any; `AllowValidOnly` if absent",
        ),
        unsupported("clusterTrustBundleRef", "authorities of a ClusterTrustBundle"),
    ],
};

static VALIDATION_MODES: [Word; 2] = [word("AllowValidOnly"), word("AllowInsecureFallback")];

static AUTHORITY: Object = Object {
    fields: &[
        AUTHORITY_GROUP,
        AUTHORITY_KIND,
        optional("namespace", Shape::Text(Text::Label), "that of the resource itself, which it is if absent"),
        AUTHORITY_NAME,
    ],
};

pub(super) const AUTHORITY_GROUP: Field =
    required("group", Shape::Choice(&CORE), "\"\", the group of ConfigMap");
pub(super) const AUTHORITY_KIND: Field = required("kind", Shape::Choice(&CONFIG_MAP), "ConfigMap");
pub(super) const AUTHORITY_NAME: Field =
    required("name", Shape::Text(Text::Label), "a ConfigMap with certificates of authorities in `ca.crt`");

static CONFIG_MAP: [Word; 2] = [word("ConfigMap"), unsupported_word("Secret")];
