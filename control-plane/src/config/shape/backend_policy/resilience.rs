//! Retries, hedging, ejection, breakers, health checks.

use outrigger_snapshot::validate::{ATTEMPTS_MAX, REPLAY_BYTES_MAX};

use super::super::super::text::Text;
use super::super::{Object, Shape, optional};
use super::DURATION;

/// Statuses that one list may hold.
pub(crate) const STATUSES_MAX: usize = 64;
/// Largest count of requests that a rate is taken over, or that is compared with one.
const REQUESTS_MAX: i64 = 10_000;
/// Largest count of an allowance of retries (Gateway API, `RequestRate`).
pub(crate) const COUNT_MAX: i64 = 1_000_000;
/// Most probes of a breaker, at a time and until it closes.
const PROBES_MAX: i64 = 100;
/// Most probes in a row that a health check may ask for.
const THRESHOLD_MAX: i64 = 100;

/// Tries beyond the first.
pub(crate) const ATTEMPTS: Shape = Shape::Integer { least: 0, most: ATTEMPTS_MAX as i64 };
/// Response statuses that say that a request failed.
pub(crate) const STATUSES: Shape =
    Shape::List { of: &Shape::Integer { least: 400, most: 599 }, least: 0, most: STATUSES_MAX };
/// A share.
pub(crate) const PERCENT: Shape = Shape::Integer { least: 0, most: 100 };

const FAILURES: Shape = Shape::Integer { least: 0, most: REQUESTS_MAX };
const REQUESTS: Shape = Shape::Integer { least: 1, most: REQUESTS_MAX };
const PROBES: Shape = Shape::Integer { least: 1, most: PROBES_MAX };
const THRESHOLD: Shape = Shape::Integer { least: 1, most: THRESHOLD_MAX };

pub(super) static RETRY: Object = Object {
    fields: &[
        optional("attempts", ATTEMPTS, "tries beyond the first; 0: none"),
        optional("statuses", STATUSES, "response statuses that are tried again"),
        optional(
            "grpcStatuses",
            Shape::List { of: &Shape::GrpcStatus, least: 0, most: STATUSES_MAX },
            "gRPC statuses that are tried again, in headers or trailers",
        ),
        optional(
            "idempotent",
            Shape::Boolean,
            "true: every request may be executed twice, whatever its method says",
        ),
        optional("backoff", Shape::Object(&BACKOFF), "how long is waited before a retry"),
        optional(
            "bodyBytes",
            Shape::Integer { least: 0, most: REPLAY_BYTES_MAX as i64 },
            "longest request body that is kept to be sent again; a request with a longer one is not tried again",
        ),
        optional("budget", Shape::Object(&BUDGET), "what retries and hedges may add to the load"),
    ],
};

static BACKOFF: Object = Object {
    fields: &[
        optional(
            "base",
            DURATION,
            "the wait before the first retry is drawn from 0s to this, and doubles each time",
        ),
        optional("max", DURATION, "the longest wait; at least `base`"),
    ],
};

static BUDGET: Object = Object {
    fields: &[
        optional("percent", PERCENT, "of the requests in the window"),
        optional("window", DURATION, "over which requests and retries are counted; at least 1s"),
        optional(
            "floor",
            Shape::Object(&FLOOR),
            "retries that are allowed beside, for all callers of the service together",
        ),
    ],
};

static FLOOR: Object = Object {
    fields: &[
        optional("count", Shape::Integer { least: 0, most: COUNT_MAX }, "so many; 1 if absent"),
        optional("interval", DURATION, "in each of these, 1s to 1h; 1s if absent"),
    ],
};

/// Of what is off by default.
const ENABLED: Shape = Shape::Boolean;
const ENABLED_ABOUT: &str =
    "false: not at all, even where a wider policy says so, and nothing else beside it; true if absent";

pub(super) static HEDGE: Object = Object {
    fields: &[
        optional("enabled", ENABLED, ENABLED_ABOUT),
        optional(
            "percentile",
            Shape::Integer { least: 50, most: 99 },
            "the second try is sent once the first took longer than this share of recent answers, per cent; 95 if absent",
        ),
        optional("minDelay", DURATION, "and not before this; 10ms if absent"),
    ],
};

pub(super) static EJECTION: Object = Object {
    fields: &[
        optional("consecutive", FAILURES, "failed answers in a row that eject an endpoint; 0: not looked at"),
        optional("consecutiveLocal", FAILURES, "failures in a row to connect; 0: not looked at"),
        optional("failurePercent", PERCENT, "failures, per cent of the window's requests; 0: not looked at"),
        optional("slowPercent", PERCENT, "slow answers, per cent of the window's requests; 0: not looked at"),
        optional("slowAfter", DURATION, "from this on an answer is slow"),
        optional("minRequests", REQUESTS, "requests below which the window says nothing"),
        optional("window", DURATION, "over which failures are counted"),
        optional(
            "deviationPermille",
            Shape::Integer { least: 0, most: REQUESTS_MAX },
            "standard deviations, in thousandths, that a success rate may lie below the mean; 0: not looked at",
        ),
        optional("base", DURATION, "how long the first ejection lasts; each further one twice as long"),
        optional("max", DURATION, "the longest; at least `base`"),
        optional("maxPercent", PERCENT, "endpoints that may be out at the same time"),
        optional("panicPercent", PERCENT, "with fewer healthy endpoints than this, all are used"),
    ],
};

pub(super) static BREAKER: Object = Object {
    fields: &[
        optional("failurePercent", PERCENT, "failures, per cent of the window's requests; 0: not looked at"),
        optional("slowPercent", PERCENT, "slow requests, per cent of the window's; 0: not looked at"),
        optional("slowAfter", DURATION, "from this on a request is slow"),
        optional("window", Shape::Object(&WINDOW), "what the rates are taken over: exactly one of both"),
        optional(
            "minRequests",
            REQUESTS,
            "requests below which the window says nothing; at most `window.requests`",
        ),
        optional("endpointsPercent", PERCENT, "endpoints that must be failing for it to open"),
        optional("open", DURATION, "how long it stays open first; twice as long each time the probes fail"),
        optional("openMax", DURATION, "the longest; at least `open`"),
        optional("probes", PROBES, "requests at a time that find out whether the service is back"),
        optional("successes", PROBES, "probes that must succeed before it closes"),
        optional(
            "ramp",
            DURATION,
            "over this the share that is let through grows after closing; absent, all at once",
        ),
    ],
};

static WINDOW: Object = Object {
    fields: &[
        optional("time", DURATION, "the requests of the last while"),
        optional("requests", REQUESTS, "the last requests, this many"),
    ],
};

pub(super) static HEALTH_CHECK: Object = Object {
    fields: &[
        optional("enabled", ENABLED, ENABLED_ABOUT),
        optional("http", Shape::Object(&HTTP_PROBE), "GET of a path; a status from 200 to 399 is well"),
        optional(
            "grpc",
            Shape::Object(&GRPC_PROBE),
            "the gRPC health protocol; for ports of protocol GRPC or HTTP2",
        ),
        optional("tcp", Shape::Object(&TCP_PROBE), "a connection that opens"),
        optional("interval", DURATION, "between two probes of an endpoint that is well"),
        optional("fastInterval", DURATION, "between two probes of one that is not; at most `interval`"),
        optional("timeout", DURATION, "for the answer; at most `interval` and `fastInterval`"),
        optional("unhealthy", THRESHOLD, "failures in a row after which it is not well"),
        optional("healthy", THRESHOLD, "successes in a row after which it is well again"),
        optional("waitForFirst", Shape::Boolean, "true: a new endpoint gets requests once it was found well"),
    ],
};

static HTTP_PROBE: Object = Object {
    fields: &[
        optional("path", Shape::Text(Text::Any), "path and query; `/` if absent"),
        optional("host", Shape::Text(Text::Host), "the Host header; the service's name if absent"),
    ],
};

static GRPC_PROBE: Object = Object {
    fields: &[optional(
        "service",
        Shape::Text(Text::Any),
        "the service that is asked about; absent, the server as a whole",
    )],
};

static TCP_PROBE: Object = Object { fields: &[] };
