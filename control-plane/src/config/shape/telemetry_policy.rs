//! The shape of `outrigger.dev/v1alpha1` `TelemetryPolicy`.

use outrigger_snapshot::policy::LABELS_MAX;

use super::super::text::Text;
use super::backend_policy::TARGETS;
use super::{Object, Shape, optional, required};

const PERCENT: Shape = Shape::Text(Text::Percent);

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required("targetRefs", TARGETS, "the services that it applies to"),
        optional("traces", Shape::Object(&TRACES), "which requests are told of in traces"),
        optional("accessLog", Shape::Object(&ACCESS_LOG), "which requests have a line in the access log"),
        optional(
            "labels",
            Shape::List { of: &LABEL, least: 0, most: LABELS_MAX },
            "what spans of requests and their lines say beside the usual",
        ),
    ],
};

static LABEL: Shape = Shape::Object(&Object {
    fields: &[
        required(
            "name",
            Shape::Text(Text::Any),
            "a name that they do not have of their own, like shop.tenant: at most 64 bytes",
        ),
        optional("value", Shape::Text(Text::HeaderValue), "what it is, always: at most 256 bytes; or"),
        optional(
            "header",
            Shape::Text(Text::HeaderName),
            "the header of the request that has it; cut after 256 bytes, left out where the request has none",
        ),
    ],
});

static TRACES: Object = Object {
    fields: &[
        optional(
            "sampling",
            PERCENT,
            "of traces about which nobody has decided before; absent, as each proxy was started",
        ),
        optional(
            "slow",
            Shape::Text(Text::Duration),
            "requests that take longer are told of in any case, as are those that fail; absent, as each proxy was started",
        ),
    ],
};

static ACCESS_LOG: Object = Object {
    fields: &[
        optional("enabled", Shape::Boolean, "`true` if absent; of effect where a proxy was started with one"),
        optional(
            "sampling",
            PERCENT,
            "of requests that do not fail, those that do always have a line; absent, as each proxy was started",
        ),
    ],
};
