//! The shape of `outrigger.dev/v1alpha1` `RouteFilter`.

use super::super::text::Text;
use super::backend_policy::resilience::PERCENT;
use super::inbound_policy::RATE_LIMIT;
use super::{Object, Shape, optional, required};

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        optional("rateLimit", Shape::Object(&RATE_LIMIT), "a limit of rate, for each rule that names it"),
        optional("fault", Shape::Object(&FAULT), "failures that are wanted: `delay`, `abort` or both"),
    ],
};

static FAULT: Object = Object {
    fields: &[
        optional("delay", Shape::Object(&DELAY), "requests that are held up"),
        optional(
            "abort",
            Shape::Object(&ABORT),
            "requests that are answered in place of the upstream, without delay",
        ),
    ],
};

static DELAY: Object = Object {
    fields: &[
        required("percent", PERCENT, "of the requests that are not answered by `abort`"),
        required("duration", Shape::Text(Text::Duration), "for how long, at most a day"),
    ],
};

static ABORT: Object = Object {
    fields: &[
        required("percent", PERCENT, "of the requests"),
        optional(
            "status",
            Shape::Integer { least: 200, most: 599 },
            "what callers get that do not speak gRPC; 503 if absent",
        ),
        optional("grpcStatus", Shape::GrpcStatus, "what the others get; `UNAVAILABLE` if absent"),
    ],
};
