//! The shape of `outrigger.dev/v1alpha1` `InboundPolicy`.

use outrigger_snapshot::validate::{
    EXEMPT_MAX, KEY_PARTS_MAX, PATH_ELEMENTS_MAX, RATE_LIMITS_MAX, REQUESTS_MAX, TOLERANCE_PERCENTS,
    TRUSTED_MAX,
};

use super::super::text::Text;
use super::backend_policy::TARGETS;
use super::{Object, Shape, optional, required};

const REQUESTS: Shape = Shape::Integer { least: 1, most: REQUESTS_MAX as i64 };

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required("targetRefs", TARGETS, "the services that it applies to"),
        optional("shed", Shape::Object(&SHED), "when load is shed"),
        optional(
            "rateLimits",
            Shape::List { of: &Shape::Object(&RATE_LIMIT), least: 0, most: RATE_LIMITS_MAX },
            "limits of rate; a request must pass all of them",
        ),
        optional(
            "trustedSources",
            Shape::List { of: &Shape::Text(Text::Network), least: 0, most: TRUSTED_MAX },
            "callers whose `outrigger-*` fields are believed; absent, nobody's are",
        ),
    ],
};

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
            "pathElement",
            Shape::Integer { least: 0, most: PATH_ELEMENTS_MAX as i64 - 1 },
            "this element of the path: of `/users/7`, 0 is `users` and 1 is `7`",
        ),
    ],
};
