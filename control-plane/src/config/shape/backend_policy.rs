//! The shape of `outrigger.dev/v1alpha1` `BackendPolicy`.

use outrigger_snapshot::policy::SUBSET_ENDPOINTS_MIN;
use outrigger_snapshot::validate::{ENDPOINTS_MAX, SHARD_ENDPOINTS_MAX};

use super::super::text::Text;
use super::gateway;
use super::resource::{SERVICE_GROUPS, SERVICE_KINDS};
use super::{Object, Shape, Word, optional, required, word};

pub(crate) mod resilience;

/// Services that one policy may be attached to (Gateway API v1, `targetRefs`).
pub(crate) const TARGETS_MAX: usize = 16;
/// Largest cap.
const LIMIT_MAX: i64 = 1_000_000_000;

const LIMIT: Shape = Shape::Integer { least: 1, most: LIMIT_MAX };
const DURATION: Shape = Shape::Text(Text::Duration);

/// What a policy of ours is attached to.
pub(super) const TARGETS: Shape = Shape::List { of: &Shape::Object(&TARGET), least: 1, most: TARGETS_MAX };

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required("targetRefs", TARGETS, "the services that it applies to"),
        optional("balance", Shape::Object(&BALANCE), "how an endpoint is picked"),
        optional("timeouts", Shape::Object(&TIMEOUTS), "time limits, at most a day each"),
        optional("limits", Shape::Object(&LIMITS), "caps, for each proxy"),
        optional("retry", Shape::Object(&resilience::RETRY), "when a request is sent again"),
        optional(
            "hedge",
            Shape::Object(&resilience::HEDGE),
            "a second try while the first is unanswered, where the request is safe to repeat; absent, none",
        ),
        optional(
            "ejection",
            Shape::Object(&resilience::EJECTION),
            "when an endpoint that fails gets no requests for a while",
        ),
        optional(
            "breaker",
            Shape::Object(&resilience::BREAKER),
            "when a service that fails as a whole is not asked for a while",
        ),
        optional(
            "healthCheck",
            Shape::Object(&resilience::HEALTH_CHECK),
            "how endpoints are asked whether they are well, by exactly one of http, grpc, tcp; absent, they are not",
        ),
        optional(
            "slowStart",
            DURATION,
            "over this the share of an endpoint that is new or back grows to its whole; absent, it has it at once",
        ),
        optional(
            "zonePreference",
            Shape::Object(&ZONE_PREFERENCE),
            "whether requests stay in the zone that they come from, as far as every endpoint keeps its share",
        ),
        optional(
            "subset",
            Shape::Object(&SUBSET),
            "how many of the endpoints each caller has, where callers × endpoints are more than 2,000",
        ),
        optional("discovery", Shape::Object(&DISCOVERY), "how DNS answers are taken"),
        optional("tls", Shape::Object(&TLS), "what is shown where a `BackendTLSPolicy` has it called by TLS"),
    ],
};

pub(super) static TARGET: Object = Object {
    fields: &[
        optional("group", Shape::Choice(&SERVICE_GROUPS), "the group of the target; \"\" if absent"),
        required("kind", Shape::Choice(&SERVICE_KINDS), "Service"),
        required("name", Shape::Text(Text::Label), "a Service in the namespace of the policy"),
        optional("sectionName", Shape::Text(Text::Label), "one port of it, by name; absent, all"),
    ],
};

static BALANCE: Object = Object {
    fields: &[
        optional("policy", Shape::Choice(&BALANCE_POLICIES), "the way; `PeakEwma` if absent"),
        optional(
            "hash",
            Shape::Object(&HASH),
            "what requests are hashed by; for `ConsistentHash` and `ShuffleShard` only, which need it",
        ),
        optional(
            "shardSize",
            Shape::Integer { least: 1, most: SHARD_ENDPOINTS_MAX as i64 },
            "how many endpoints a key has; for `ShuffleShard` only, which needs it",
        ),
    ],
};

static BALANCE_POLICIES: [Word; 6] = [
    word("PeakEwma"),
    word("LeastRequest"),
    word("RoundRobin"),
    word("Random"),
    word("ConsistentHash"),
    word("ShuffleShard"),
];

static HASH: Object = Object {
    fields: &[
        optional("header", Shape::Text(Text::HeaderName), "the value of this header"),
        optional("cookie", Shape::Text(Text::CookieName), "the value of this cookie"),
        optional("source", Shape::Boolean, "true: the address of the downstream peer"),
    ],
};

static TIMEOUTS: Object = Object {
    fields: &[
        optional(
            "connect",
            DURATION,
            "for opening an upstream connection; and before it, for a place among limits.connections",
        ),
        optional("request", DURATION, "for the whole request, until the last byte of the response; 0s: none"),
        optional(
            "try",
            DURATION,
            "for one try, until the last byte of its response; 0s: none; at most `request`",
        ),
        optional("firstByte", DURATION, "from the end of the request until the response head; 0s: none"),
        optional("idle", DURATION, "for an upstream connection without a request"),
        optional("bodyStall", DURATION, "between two pieces of a body, in either direction; 0s: none"),
        optional("tunnelIdle", DURATION, "for a tunnel through which nothing moves; 0s: none"),
    ],
};

static LIMITS: Object = Object {
    fields: &[
        optional("connections", LIMIT, "upstream connections"),
        optional("pending", LIMIT, "requests waiting for a connection"),
        optional("requests", LIMIT, "requests in flight"),
        optional(
            "endpointRequests",
            Shape::Integer { least: 0, most: LIMIT_MAX },
            "requests in flight to one endpoint; 0: no such cap",
        ),
    ],
};

static ZONE_PREFERENCE: Object = Object {
    fields: &[
        optional("enabled", Shape::Boolean, "true: they do"),
        optional(
            "minEndpoints",
            Shape::Integer { least: 1, most: ENDPOINTS_MAX as i64 },
            "with fewer healthy endpoints, zones are not looked at",
        ),
    ],
};

static SUBSET: Object = Object {
    fields: &[
        optional("enabled", Shape::Boolean, "false: all, however many"),
        optional(
            "minEndpoints",
            Shape::Integer { least: SUBSET_ENDPOINTS_MIN as i64, most: ENDPOINTS_MAX as i64 },
            "so many at the least; more where more requests are in flight",
        ),
    ],
};

static DISCOVERY: Object = Object {
    fields: &[optional(
        "onEmpty",
        Shape::Choice(&ON_EMPTY),
        "what an empty or \"no such name\" DNS answer means: `keep` the last endpoints for the stale time, or `drain` them",
    )],
};

static TLS: Object = Object {
    fields: &[optional(
        "clientCertificateRef",
        Shape::Object(&gateway::CERTIFICATE),
        "the certificate that is shown to endpoints that ask for one; absent, none",
    )],
};

static ON_EMPTY: [Word; 2] = [word("keep"), word("drain")];
