//! Settings that contradict each other, be they of one policy, of two on one port, or of a policy and the defaults.

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Backend, BreakerWindow, Probe, Protocol};

use super::super::layers::{Layer, Layers, effective};
use super::super::model::{Port, Switch, Target};
use super::super::problem::{Problem, Problems};
use super::super::resource::Resource;
use super::super::text::duration_text;
use super::Services;

/// Of two fields, one may not be above the other.
struct Order {
    lower: &'static str,
    upper: &'static str,
    bound: Bound,
    /// The upper one as a neighbour of the lower, and the other way round.
    names: (&'static str, &'static str),
    /// Both values; `None` where they have nothing to do with each other.
    values: fn(&Backend) -> Option<(Amount, Amount)>,
}

/// How far the lower may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// Up to the upper.
    AtMost,
    /// The same, where it is written: what it is by default does no harm.
    WrittenAtMost,
    /// Not up to the upper.
    Below,
    /// The same, where it is written.
    WrittenBelow,
}

impl Bound {
    fn is_broken(self, lower: Amount, upper: Amount) -> bool {
        lower > upper || self.is_strict() && lower == upper
    }

    fn is_strict(self) -> bool {
        matches!(self, Self::Below | Self::WrittenBelow)
    }

    /// What is expected of the lower and of the upper.
    fn words(self) -> (&'static str, &'static str) {
        if self.is_strict() { ("less than", "more than") } else { ("at most", "at least") }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Amount {
    Count(u32),
    Milliseconds(u64),
}

impl Amount {
    fn text(self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Milliseconds(time) => duration_text(time),
        }
    }

    /// "more" and "less" for such amounts.
    fn comparatives(self) -> (&'static str, &'static str) {
        match self {
            Self::Count(_) => ("larger", "smaller"),
            Self::Milliseconds(_) => ("longer", "shorter"),
        }
    }
}

fn times(lower_ms: u64, upper_ms: u64) -> Option<(Amount, Amount)> {
    Some((Amount::Milliseconds(lower_ms), Amount::Milliseconds(upper_ms)))
}

/// A time that has no effect unless it ends within that of the whole request; 0 is none.
fn within_request(backend: &Backend, time_ms: u64) -> Option<(Amount, Amount)> {
    times(time_ms, backend.timeouts.request_ms).filter(|_| backend.timeouts.request_ms != 0)
}

/// Where it is not written, it is made to fit the others.
const FITTED: &str = "healthCheck.fastInterval";

const ORDERS: [Order; 13] = [
    Order {
        lower: "timeouts.try",
        upper: "timeouts.request",
        bound: Bound::AtMost,
        names: ("request", "try"),
        values: |backend| within_request(backend, backend.timeouts.try_ms),
    },
    Order {
        lower: "timeouts.firstByte",
        upper: "timeouts.request",
        bound: Bound::WrittenAtMost,
        names: ("request", "firstByte"),
        values: |backend| within_request(backend, backend.timeouts.first_byte_ms),
    },
    Order {
        lower: "hedge.minDelay",
        upper: "timeouts.request",
        bound: Bound::Below,
        names: ("timeouts.request", "hedge.minDelay"),
        values: |backend| within_request(backend, backend.hedge?.delay_min_ms),
    },
    Order {
        lower: "retry.backoff.base",
        upper: "timeouts.request",
        bound: Bound::WrittenBelow,
        names: ("timeouts.request", "retry.backoff.base"),
        values: |backend| within_request(backend, backend.retry.backoff_base_ms),
    },
    Order {
        lower: "ejection.slowAfter",
        upper: "timeouts.request",
        bound: Bound::AtMost,
        names: ("timeouts.request", "ejection.slowAfter"),
        values: |backend| {
            let ejection = backend.ejection;
            within_request(backend, ejection.slow_ms).filter(|_| ejection.slow_percent != 0)
        },
    },
    Order {
        lower: "breaker.slowAfter",
        upper: "timeouts.request",
        bound: Bound::AtMost,
        names: ("timeouts.request", "breaker.slowAfter"),
        values: |backend| {
            let breaker = backend.breaker;
            within_request(backend, breaker.slow_ms).filter(|_| breaker.slow_percent != 0)
        },
    },
    Order {
        lower: "retry.backoff.base",
        upper: "retry.backoff.max",
        bound: Bound::AtMost,
        names: ("max", "base"),
        values: |backend| times(backend.retry.backoff_base_ms, backend.retry.backoff_max_ms),
    },
    Order {
        lower: "ejection.base",
        upper: "ejection.max",
        bound: Bound::AtMost,
        names: ("max", "base"),
        values: |backend| times(backend.ejection.base_ms, backend.ejection.max_ms),
    },
    Order {
        lower: "breaker.open",
        upper: "breaker.openMax",
        bound: Bound::AtMost,
        names: ("openMax", "open"),
        values: |backend| times(backend.breaker.open_ms, backend.breaker.open_max_ms),
    },
    Order {
        lower: "breaker.minRequests",
        upper: "breaker.window.requests",
        bound: Bound::AtMost,
        names: ("window.requests", "minRequests"),
        values: |backend| match backend.breaker.window {
            BreakerWindow::Count(count) => {
                Some((Amount::Count(backend.breaker.requests_min), Amount::Count(count)))
            }
            BreakerWindow::TimeMs(_) => None,
        },
    },
    Order {
        lower: "healthCheck.timeout",
        upper: "healthCheck.interval",
        bound: Bound::AtMost,
        names: ("interval", "timeout"),
        values: |backend| {
            backend.health_check.as_ref().and_then(|check| times(check.timeout_ms, check.interval_ms))
        },
    },
    Order {
        lower: "healthCheck.timeout",
        upper: "healthCheck.fastInterval",
        bound: Bound::AtMost,
        names: ("fastInterval", "timeout"),
        values: |backend| {
            backend.health_check.as_ref().and_then(|check| times(check.timeout_ms, check.fast_interval_ms))
        },
    },
    Order {
        lower: "healthCheck.fastInterval",
        upper: "healthCheck.interval",
        bound: Bound::AtMost,
        names: ("interval", "fastInterval"),
        values: |backend| {
            backend.health_check.as_ref().and_then(|check| times(check.fast_interval_ms, check.interval_ms))
        },
    },
];

/// Each policy by itself, and all that hold for each port of its targets together.
pub(super) fn check<'a>(
    resources: &'a [Resource],
    layers: &Layers<'_>,
    services: &Services<'a>,
    problems: &mut Problems,
) {
    for resource in resources {
        let Some(policy) = resource.spec().backend_policy() else { continue };
        check_alone(&Layer { resource, policy }, problems);
        let ports = |target: &'a Target| services.ports_of(target).map(|port| (&target.service.value, port));
        for (name, port) in policy.targets.iter().flat_map(ports) {
            let here = layers.of(name, &port.name);
            // More than once where a policy has several targets, and said once.
            check_orders(&here, &effective(&here, port.protocol), problems);
            check_hedge(&here, &effective(&here, port.protocol), problems);
            check_attempts(&here, &effective(&here, port.protocol), problems);
            check_zones(&here, &effective(&here, port.protocol), problems);
            check_subset(&here, &effective(&here, port.protocol), problems);
            check_probe(&Layer { resource, policy }, &here, port, name, problems);
        }
    }
}

/// What a policy says against itself, wherever it applies: also where its targets are not there.
fn check_alone(layer: &Layer<'_>, problems: &mut Problems) {
    let backend = effective(&[*layer], Protocol::Http);
    for order in &ORDERS {
        if layer.spot(order.lower).is_some() && layer.spot(order.upper).is_some() {
            check_order(order, &[*layer], &backend, problems);
        }
    }
    if layer.spot("hedge").is_some() && layer.spot("retry.budget").is_some() {
        check_hedge(&[*layer], &backend, problems);
    }
    if layer.spot("retry.attempts").is_some() && layer.spot("retry.budget").is_some() {
        check_attempts(&[*layer], &backend, problems);
    }
    check_zones(&[*layer], &backend, problems);
    check_subset(&[*layer], &backend, problems);
}

fn check_orders(layers: &[Layer<'_>], backend: &Backend, problems: &mut Problems) {
    for order in &ORDERS {
        check_order(order, layers, backend, problems);
    }
}

fn check_order(order: &Order, layers: &[Layer<'_>], backend: &Backend, problems: &mut Problems) {
    let broken = |(lower, upper): &(Amount, Amount)| order.bound.is_broken(*lower, *upper);
    let Some((lower, upper)) = (order.values)(backend).filter(broken) else { return };
    let (low, high) = (last(layers, order.lower), last(layers, order.upper));
    let unwritten = low.is_none() && matches!(order.bound, Bound::WrittenAtMost | Bound::WrittenBelow);
    if unwritten || high.is_none() && order.upper == FITTED {
        return;
    }
    // The narrower policy is at fault: it was written knowing the wider, or the default.
    let at_lower = low.is_some_and(|(place, _)| high.is_none_or(|(other, _)| place >= other));
    let (blamed, field, other, value) =
        if at_lower { (low, order.lower, high, upper) } else { (high, order.upper, low, lower) };
    let Some((_, layer)) = blamed else { return };
    let ((more, less), (most, least)) = (lower.comparatives(), order.bound.words());
    let ((comparative, bound), name) =
        if at_lower { ((more, most), order.names.0) } else { ((less, least), order.names.1) };
    let compared = if lower == upper { "as long as".to_owned() } else { format!("{comparative} than") };
    let (reason, expected) = match other {
        Some((_, other)) if other.resource.key() == layer.resource.key() => (String::new(), name.to_owned()),
        Some((_, other)) => {
            (format!(", which is {} by {}", value.text(), other.resource.key()), value.text())
        }
        None => (format!(", which is {} by default", value.text()), value.text()),
    };
    let message = format!("is {compared} {name}{reason}");
    add(layer, field, problems, |problem| problem(message).expected(format!("{bound} {expected}")));
}

/// The narrowest of the layers that says something about a field, and its place among them.
fn last<'a>(layers: &[Layer<'a>], field: &str) -> Option<(usize, Layer<'a>)> {
    layers.iter().copied().enumerate().rfind(|(_, layer)| layer.spot(field).is_some())
}

fn add(
    layer: Layer<'_>,
    field: &str,
    problems: &mut Problems,
    build: impl FnOnce(&dyn Fn(String) -> Problem) -> Problem,
) {
    let at = layer.spot(field).unwrap_or(layer.resource.parts().at);
    problems.add(|| build(&|message| layer.resource.problem(at, format!("spec.{field}"), message)));
}

/// Whether the budget of retries and hedges has room for any.
fn allows_any(backend: &Backend) -> bool {
    backend.retry.budget.percent != 0 || backend.retry.budget.floor_per_1000_s != 0
}

fn check_attempts(layers: &[Layer<'_>], backend: &Backend, problems: &mut Problems) {
    if backend.retry.attempts == 0 || allows_any(backend) {
        return;
    }
    let Some((_, layer)) = last(layers, "retry.attempts") else { return };
    add(layer, "retry.attempts", problems, |problem| {
        problem("would never be made: the retry budget allows nothing".to_owned())
            .expected("0, or a retry.budget with percent or floor.count above 0")
    });
}

fn check_hedge(layers: &[Layer<'_>], backend: &Backend, problems: &mut Problems) {
    if backend.hedge.is_none() || allows_any(backend) {
        return;
    }
    let Some((_, layer)) = last(layers, "hedge") else { return };
    add(layer, "hedge", problems, |problem| {
        problem("would never be sent: the retry budget allows nothing".to_owned())
            .expected("a retry.budget with percent or floor.count above 0")
    });
}

/// Where a key decides on the endpoint, no zone can.
fn check_zones(layers: &[Layer<'_>], backend: &Backend, problems: &mut Problems) {
    if backend.zone_preference.is_none() || backend.balance.key().is_none() {
        return;
    }
    let (on, keyed) = (last(layers, "zonePreference.enabled"), last(layers, "balance"));
    let on_is_narrower = on.map(|(place, _)| place) >= keyed.map(|(place, _)| place);
    let (blamed, field, message, expected) = if on_is_narrower {
        let message = "has no effect where balance goes by a hash";
        (on, "zonePreference.enabled", message, "false, or another balance.policy")
    } else {
        let message = "goes by a hash, and so cannot by zone";
        (keyed, "balance", message, "another policy, or zonePreference.enabled: false")
    };
    let Some((_, layer)) = blamed else { return };
    add(layer, field, problems, |problem| problem(message.to_owned()).expected(expected));
}

/// Where a key decides on the endpoint, there are no subsets. That a wider policy says how large they are does no harm.
fn check_subset(layers: &[Layer<'_>], backend: &Backend, problems: &mut Problems) {
    if backend.balance.key().is_none() || backend.subset.is_none() {
        return;
    }
    let keyed = last(layers, "balance").map(|(place, _)| place);
    for field in ["subset.enabled", "subset.minEndpoints"] {
        let Some((_, layer)) = last(layers, field).filter(|(place, _)| Some(*place) >= keyed) else {
            continue;
        };
        add(layer, field, problems, |problem| {
            problem("has no effect where balance goes by a hash".to_owned())
                .expected("none, or another balance.policy")
        });
    }
}

/// A probe that no endpoint could answer would take all of them out. One that a narrower policy replaces or switches off is not sent.
fn check_probe(
    layer: &Layer<'_>,
    layers: &[Layer<'_>],
    port: &Port,
    name: &ServiceName,
    problems: &mut Problems,
) {
    let decides = last(layers, "healthCheck");
    if decides.is_some_and(|(_, other)| other.resource.key() != layer.resource.key()) {
        return;
    }
    let Some(Switch::On(check)) = &layer.policy.settings.health_check else { return };
    let (field, expected) = match &check.probe {
        Probe::Grpc { .. } if !matches!(port.protocol, Protocol::Grpc | Protocol::Http2) => {
            ("healthCheck.grpc", "ports of protocol GRPC or HTTP2; sectionName names one")
        }
        Probe::Http { .. } if port.protocol == Protocol::Tls => {
            ("healthCheck.http", "ports that are not of protocol TLS; sectionName names one")
        }
        _ => return,
    };
    let message = format!("port {} of {name} cannot answer it", port.name);
    add(*layer, field, problems, |problem| problem(message).expected(expected));
}
