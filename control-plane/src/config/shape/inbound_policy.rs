//! The shape of `outrigger.dev/v1alpha1` `InboundPolicy`.

use outrigger_snapshot::validate::{
    ACCESS_RULES_MAX, CERTIFICATES_MAX, EXEMPT_MAX, KEY_PARTS_MAX, PATH_ELEMENTS_MAX, PRIORITY_MAX,
    RATE_LIMITS_MAX, REQUESTS_MAX, TOLERANCE_PERCENTS, TRUSTED_MAX,
};

use super::super::text::Text;
use super::backend_policy::TARGETS_MAX;
use super::gateway::{CERTIFICATE, VALIDATION};
use super::resource::PARENT_GROUPS;
use super::{Field, Object, Shape, Word, optional, required, unsupported_word, word};

const REQUESTS: Shape = Shape::Integer { least: 1, most: REQUESTS_MAX as i64 };

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required(
            "targetRefs",
            Shape::List { of: &Shape::Object(&TARGET), least: 1, most: TARGETS_MAX },
            "the services and gateways that it applies to",
        ),
        optional("shed", Shape::Object(&SHED), "when load is shed"),
        optional(
            "rateLimits",
            Shape::List { of: &Shape::Object(&RATE_LIMIT), least: 0, most: RATE_LIMITS_MAX },
            "limits of rate; a request must pass all of them",
        ),
        optional("authorization", Shape::Object(&AUTHORIZATION), "who may call; absent, everybody"),
        optional(
            "priorities",
            Shape::List { of: &Shape::Object(&PRIORITY_RULE), least: 0, most: ACCESS_RULES_MAX },
            "how much requests matter, whatever their callers say; the first rule about a request holds",
        ),
        optional(
            "trustedSources",
            Shape::List { of: &Shape::Text(Text::Network), least: 0, most: TRUSTED_MAX },
            "callers whose `outrigger-*` fields are believed; absent, nobody's are",
        ),
        optional(
            "tls",
            Shape::Object(&TLS),
            "TLS with clients outside the mesh that ends here; absent, there is none",
        ),
    ],
};

static TLS: Object = Object {
    fields: &[
        required(
            "certificateRefs",
            Shape::List { of: &Shape::Object(&CERTIFICATE), least: 1, most: CERTIFICATES_MAX },
            "the certificates that are shown, by the name that the client asks for, else the first",
        ),
        optional(
            "minVersion",
            Shape::Choice(&VERSIONS),
            "the oldest version of TLS that is spoken, in quotes; \"1.2\" if absent",
        ),
        optional(
            "validation",
            Shape::Object(&VALIDATION),
            "clients are asked for certificates; absent, they are not",
        ),
        optional(
            "cleartext",
            Shape::Choice(&CLEARTEXT),
            "what becomes of requests that come in the clear, health checks excepted; `Refused` if absent",
        ),
    ],
};

static TARGET: Object = Object {
    fields: &[
        optional(
            "group",
            Shape::Choice(&PARENT_GROUPS),
            "the group of the target; that of its kind if absent",
        ),
        required("kind", Shape::Choice(&TARGET_KINDS), "Service or Gateway"),
        required("name", Shape::Text(Text::Label), "one in the namespace of the policy"),
        optional(
            "sectionName",
            Shape::Text(Text::Label),
            "one port of the Service, or one listener of the Gateway, by name; absent, all",
        ),
    ],
};

static VERSIONS: [Word; 2] = [word("1.2"), word("1.3")];
static CLEARTEXT: [Word; 2] = [word("Refused"), word("Allowed")];
static TARGET_KINDS: [Word; 3] = [word("Service"), word("Gateway"), unsupported_word("ServiceImport")];

static SHED: Object = Object {
    fields: &[
        optional("enabled", Shape::Boolean, "false: never"),
        optional(
            "tolerance",
            Shape::Integer {
                least: *TOLERANCE_PERCENTS.start() as i64,
                most: *TOLERANCE_PERCENTS.end() as i64,
            },
            "latency up to this share of the normal is normal, per cent; absent, by the number of cores",
        ),
        optional(
            "exempt",
            Shape::List { of: &Shape::Text(Text::Any), least: 0, most: EXEMPT_MAX },
            "paths that are never shed, beside that of the port's health check and gRPC's health service",
        ),
    ],
};

static AUTHORIZATION: Object = Object {
    fields: &[
        optional(
            "default",
            Shape::Choice(&ACCESS),
            "what becomes of a request that no rule is about; absent, `Deny` if a rule allows something, else `Allow`",
        ),
        optional("dryRun", Shape::Boolean, "true: what would be refused is counted and let through"),
        optional(
            "rules",
            Shape::List { of: &Shape::Object(&ACCESS_RULE), least: 0, most: ACCESS_RULES_MAX },
            "rules about requests; one that denies wins",
        ),
    ],
};

static ACCESS: [Word; 2] = [word("Allow"), word("Deny")];

const IDENTITIES: Field = optional(
    "identities",
    Shape::List { of: &Shape::Text(Text::SpiffePattern), least: 1, most: ACCESS_RULES_MAX },
    "callers with one of these SPIFFE IDs; absent, all, also those without",
);
const NAMESPACES: Field = optional(
    "namespaces",
    Shape::List { of: &Shape::Text(Text::Label), least: 1, most: ACCESS_RULES_MAX },
    "callers that are services of these namespaces; absent, all",
);
const METHODS: Field = optional(
    "methods",
    Shape::List { of: &Shape::Text(Text::Method), least: 1, most: ACCESS_RULES_MAX },
    "requests with one of these methods; absent, all",
);
static ONE_PATH: Shape = Shape::Object(&ACCESS_PATH);
const PATHS: Field = optional(
    "paths",
    Shape::List { of: &ONE_PATH, least: 1, most: ACCESS_RULES_MAX },
    "requests for one of these paths; absent, all",
);

const SOURCES: Field = optional(
    "sources",
    Shape::List { of: &Shape::Text(Text::Network), least: 1, most: ACCESS_RULES_MAX },
    "callers at one of these addresses; absent, all",
);

static ACCESS_RULE: Object = Object {
    fields: &[
        required("name", Shape::Text(Text::Label), "what logs and metrics call it; unique here"),
        required("access", Shape::Choice(&ACCESS), "what it decides: Allow or Deny"),
        IDENTITIES,
        NAMESPACES,
        METHODS,
        PATHS,
        SOURCES,
    ],
};

static PRIORITY_RULE: Object = Object {
    fields: &[
        required(
            "priority",
            Shape::Integer { least: 0, most: PRIORITY_MAX as i64 },
            "from 0, which must not fail, to 3, which is shed first",
        ),
        IDENTITIES,
        NAMESPACES,
        METHODS,
        PATHS,
        SOURCES,
    ],
};

static ACCESS_PATH: Object = Object {
    fields: &[
        optional(
            "type",
            Shape::Choice(&ACCESS_PATHS),
            "whether the path itself is meant or what is below it, too; `PathPrefix` if absent",
        ),
        required("value", Shape::Text(Text::Any), "the path, without query"),
    ],
};

static ACCESS_PATHS: [Word; 3] = [word("Exact"), word("PathPrefix"), unsupported_word("RegularExpression")];

/// A limit of rate.
pub(super) static RATE_LIMIT: Object = Object {
    fields: &[
        required("name", Shape::Text(Text::Label), "what callers and metrics see; unique where it counts"),
        required("requests", REQUESTS, "requests in each `period`"),
        required("period", Shape::Text(Text::Duration), "1ms to 24h"),
        optional("burst", REQUESTS, "requests that may come at once; a tenth of `requests` if absent"),
        optional(
            "keys",
            Shape::List { of: &Shape::Object(&KEY), least: 0, most: KEY_PARTS_MAX },
            "requests are counted apart by all of these together; absent, all are counted as one",
        ),
        optional(
            "global",
            Shape::Boolean,
            "true: counted over all sidecars, through the store of `--rate-limit-store`; else by each alone",
        ),
    ],
};

static KEY: Object = Object {
    fields: &[
        optional("header", Shape::Text(Text::HeaderName), "the value of this header"),
        optional("source", Shape::Boolean, "true: the address of the downstream peer"),
        optional(
            "identity",
            Shape::Boolean,
            "true: the identity that the downstream peer has proved; all that have none count as one",
        ),
        optional(
            "pathElement",
            Shape::Integer { least: 0, most: PATH_ELEMENTS_MAX as i64 - 1 },
            "this element of the path: of `/users/7`, 0 is `users` and 1 is `7`",
        ),
    ],
};
