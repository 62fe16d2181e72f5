//! The shape of `gateway.networking.x-k8s.io/v1alpha1` `XBackendTrafficPolicy`: every field of v1.6.

use super::super::text::Text;
use super::backend_policy::TARGETS_MAX;
use super::backend_policy::resilience::{COUNT_MAX, PERCENT};
use super::resource::{SERVICE_GROUPS, SERVICE_KINDS};
use super::{Object, Shape, optional, required, unsupported};

const DURATION: Shape = Shape::Text(Text::Duration);

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required(
            "targetRefs",
            Shape::List { of: &Shape::Object(&TARGET), least: 1, most: TARGETS_MAX },
            "the services that it applies to, with all their ports",
        ),
        optional("retryConstraint", Shape::Object(&CONSTRAINT), "what retries may add to the load"),
        unsupported("sessionPersistence", "sticky sessions"),
    ],
};

static TARGET: Object = Object {
    fields: &[
        required("group", Shape::Choice(&SERVICE_GROUPS), "\"\", the group of Service"),
        required("kind", Shape::Choice(&SERVICE_KINDS), "Service"),
        required("name", Shape::Text(Text::Label), "a Service in the namespace of the policy"),
    ],
};

static CONSTRAINT: Object = Object {
    fields: &[
        optional("budget", Shape::Object(&BUDGET), "retries per request, over a while"),
        optional("minRetryRate", Shape::Object(&RATE), "retries that are allowed beside"),
    ],
};

static BUDGET: Object = Object {
    fields: &[
        optional("percent", PERCENT, "of the requests of the interval; 20 if absent"),
        optional(
            "interval",
            DURATION,
            "over which requests and retries are counted, 1s to 1h; 10s if absent",
        ),
    ],
};

static RATE: Object = Object {
    fields: &[
        optional("count", Shape::Integer { least: 1, most: COUNT_MAX }, "so many; 10 if absent"),
        optional("interval", DURATION, "in each of these, at most 1h; 1s if absent"),
    ],
};
