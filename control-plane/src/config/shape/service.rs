//! The shape of `outrigger.dev/v1alpha1` `Service`.

use outrigger_snapshot::validate::PORTS_MAX;

use super::super::text::Text;
use super::{Object, Shape, Word, optional, required, unsupported_word, word};

/// Host names of one service beside those made from its name.
pub(crate) const HOSTS_MAX: usize = 20_000;
/// Services that one service may say it uses.
pub(crate) const USES_MAX: usize = 20_000;
/// Endpoints listed for one service.
pub(crate) const ENDPOINTS_MAX: usize = outrigger_snapshot::validate::ENDPOINTS_MAX;
/// Largest weight of an endpoint or backend (Gateway API v1).
pub(crate) const WEIGHT_MAX: i64 = outrigger_snapshot::validate::WEIGHT_MAX as i64;

/// A port number.
pub(crate) const PORT: Shape = Shape::Integer { least: 1, most: 65_535 };

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required(
            "ports",
            Shape::List { of: &Shape::Object(&SERVICE_PORT), least: 1, most: PORTS_MAX },
            "the ports that callers use",
        ),
        optional(
            "endpoints",
            Shape::Object(&ENDPOINTS),
            "where the service runs; absent, it has no endpoint of its own and only its routes answer",
        ),
        optional(
            "hosts",
            Shape::List { of: &Shape::Text(Text::Host), least: 0, most: HOSTS_MAX },
            "further host names it is called by, unique in the mesh, beside NAME, NAME.NAMESPACE and NAME.NAMESPACE.svc",
        ),
        optional(
            "uses",
            Shape::List { of: &Shape::Text(Text::Service), least: 0, most: USES_MAX },
            "the services that this one calls, as NAME or NAMESPACE/NAME; absent, it may call all",
        ),
        optional(
            "mtls",
            Shape::Choice(&super::mesh::MTLS),
            "what its sidecars ask of callers; `Disabled` for one without sidecars; absent, as the Mesh says",
        ),
    ],
};

static SERVICE_PORT: Object = Object {
    fields: &[
        required("port", PORT, "the port that callers use"),
        optional(
            "name",
            Shape::Text(Text::Label),
            "unique in the service; needed if there are several ports, else the protocol in lower case",
        ),
        optional("targetPort", PORT, "the port that the application listens on; `port` if absent"),
        optional(
            "protocol",
            Shape::Choice(&PROTOCOLS),
            "what is spoken; needed unless `appProtocol` says it",
        ),
        optional(
            "appProtocol",
            Shape::Choice(&APP_PROTOCOLS),
            "what is spoken over TCP, in the words of Kubernetes",
        ),
        optional(
            "proxyProtocol",
            Shape::Object(&PROXY_PROTOCOL),
            "the PROXY protocol header that the application expects before the first byte of each connection, on a port of TCP or TLS; absent, none",
        ),
    ],
};

static PROXY_PROTOCOL: Object = Object {
    fields: &[
        required(
            "version",
            Shape::Choice(&PROXY_VERSIONS),
            "how it is written: as a line of text, or as bytes",
        ),
        optional(
            "writtenBy",
            Shape::Choice(&PROXY_WRITERS),
            "who writes it: the sidecar beside the application, or, where there is none, those of its callers; `Sidecar` if absent",
        ),
    ],
};

static PROXY_VERSIONS: [Word; 2] = [word("V1"), word("V2")];

static PROXY_WRITERS: [Word; 2] = [word("Sidecar"), word("Callers")];

static PROTOCOLS: [Word; 5] = [word("HTTP"), word("HTTP2"), word("GRPC"), word("TCP"), word("TLS")];

static APP_PROTOCOLS: [Word; 10] = [
    word("http"),
    word("http2"),
    word("grpc"),
    word("tcp"),
    word("tls"),
    word("kubernetes.io/h2c"),
    word("kubernetes.io/ws"),
    unsupported_word("https"),
    unsupported_word("kubernetes.io/wss"),
    unsupported_word("udp"),
];

static ENDPOINTS: Object = Object {
    fields: &[
        optional(
            "static",
            Shape::List { of: &Shape::Object(&STATIC_ENDPOINT), least: 0, most: ENDPOINTS_MAX },
            "a list of addresses",
        ),
        optional("dns", Shape::Object(&DNS), "the A and AAAA records of a name"),
        optional("srv", Shape::Object(&SRV), "the SRV records of a name, which bring their ports"),
    ],
};

static STATIC_ENDPOINT: Object = Object {
    fields: &[
        required(
            "address",
            Shape::Text(Text::Address),
            "an IP address, with a port unless that is the port's `targetPort`; IPv6 with a port in brackets",
        ),
        optional("weight", Shape::Integer { least: 1, most: WEIGHT_MAX }, "the relative share; 1 if absent"),
        optional("zone", Shape::Text(Text::Label), "the zone it runs in"),
    ],
};

static DNS: Object = Object {
    fields: &[
        required("name", Shape::Text(Text::DnsName), "the name to look up"),
        optional("port", PORT, "the port to dial; the port's `targetPort` if absent"),
    ],
};

static SRV: Object = Object {
    fields: &[required(
        "name",
        Shape::Text(Text::DnsName),
        "the name to look up, like _http._tcp.cart.internal",
    )],
};
