//! How a cluster is used, and by whose word.

use outrigger_snapshot::facts;
use outrigger_snapshot::policy::{
    Backend, Balance, Breaker, BreakerWindow, HashKey, HealthCheck, Hedge, OnEmpty, Port, Probe, Protocol,
    Retry, Rule, ShuffleShard, Subset, ZonePreference,
};

use super::origin::{Origins, Parts, Place};
use super::{subset, telemetry};
use crate::config::grpc_status;
use crate::config::text::duration_text;

/// What is said about one cluster.
pub(super) struct Settings<'a> {
    pub(super) origins: &'a Origins<'a>,
    pub(super) place: Place<'a>,
    pub(super) protocol: Protocol,
    pub(super) backend: &'a Backend,
    pub(super) defaults: &'a Backend,
    /// Where it is.
    pub(super) facts: Option<&'a facts::Cluster>,
    /// The rule that leads to it, and the route that it is of.
    pub(super) rule: Option<(&'a Rule, &'a str)>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(
        origins: &'a Origins<'a>,
        place: Place<'a>,
        port: &'a Port,
        defaults: &'a Backend,
        facts: Option<&'a facts::Cluster>,
        rule: Option<(&'a Rule, &'a str)>,
    ) -> Self {
        Self { origins, place, protocol: port.protocol, backend: &port.backend, defaults, facts, rule }
    }

    /// A line for each group of settings: its name and what holds.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("balance", self.balance()),
            ("timeouts", self.timeouts()),
            ("limits", self.limits()),
            ("retry", self.retry()),
            ("budget", self.budget()),
            ("hedge", self.hedge()),
            ("ejection", self.ejection()),
            ("breaker", self.breaker()),
            ("health", self.health_check()),
            ("slow start", self.slow_start()),
            ("zones", self.zones()),
            ("subset", self.subset()),
        ];
        lines.extend(telemetry::line(self));
        if self.backend.on_empty == OnEmpty::Drain {
            let mut parts = Parts::default();
            parts.add("an empty DNS answer is believed at once", self.origin("discovery.onEmpty", false));
            lines.push(("discovery", parts.text()));
        }
        lines
    }

    fn origin(&self, field: &str, is_default: bool) -> String {
        self.origins.field(self.place, field, is_default)
    }

    /// A part for each field: its path, its text, and whether it is as by default.
    fn parts<const N: usize>(&self, fields: [(&str, String, bool); N]) -> String {
        let mut parts = Parts::default();
        for (field, text, is_default) in fields {
            parts.add(text, self.origin(field, is_default));
        }
        parts.text()
    }

    fn balance(&self) -> String {
        let (own, default) = (&self.backend.balance, &self.defaults.balance);
        self.parts([("balance", balance_text(own), own == default)])
    }

    fn timeouts(&self) -> String {
        let (own, default) = (self.backend.timeouts, self.defaults.timeouts);
        let mut parts = Parts::default();
        let mut add = |name: &str, field: &str, own: u64, default: u64, of_rule: Option<u64>| {
            let text = |time| format!("{name} {}", time_or_none(time));
            match (of_rule, self.rule) {
                (Some(time), Some((_, route))) => parts.add(text(time), route.to_owned()),
                _ => parts.add(text(own), self.origin(&format!("timeouts.{field}"), own == default)),
            }
        };
        let rule = self.rule.map(|(rule, _)| rule);
        let request = rule.and_then(|rule| rule.request_timeout_ms);
        let one_try = rule.and_then(|rule| rule.try_timeout_ms);
        add("request", "request", own.request_ms, default.request_ms, request);
        add("try", "try", own.try_ms, default.try_ms, one_try);
        add("connect", "connect", own.connect_ms, default.connect_ms, None);
        add("first byte", "firstByte", own.first_byte_ms, default.first_byte_ms, None);
        add("body stall", "bodyStall", own.body_stall_ms, default.body_stall_ms, None);
        add("idle connection", "idle", own.idle_ms, default.idle_ms, None);
        add("idle tunnel", "tunnelIdle", own.tunnel_idle_ms, default.tunnel_idle_ms, None);
        parts.text()
    }

    fn limits(&self) -> String {
        let (own, default) = (self.backend.limits, self.defaults.limits);
        self.parts([
            (
                "limits.connections",
                format!("connections {}", own.connections),
                own.connections == default.connections,
            ),
            ("limits.pending", format!("pending {}", own.pending), own.pending == default.pending),
            ("limits.requests", format!("requests {}", own.requests), own.requests == default.requests),
            (
                "limits.endpointRequests",
                match own.endpoint_requests {
                    0 => "per endpoint any".to_owned(),
                    limit => format!("per endpoint {limit}"),
                },
                own.endpoint_requests == default.endpoint_requests,
            ),
        ])
    }

    fn retry(&self) -> String {
        let (own, default): (&Retry, &Retry) = (&self.backend.retry, &self.defaults.retry);
        let of_rule = self.rule.and_then(|(rule, route)| Some((rule.retry.as_ref()?, route)));
        let mut parts = Parts::default();
        let mut add =
            |field: &str, text: String, is_default: bool, of_rule: Option<(String, &str)>| match of_rule {
                Some((text, route)) => parts.add(text, route.to_owned()),
                None => parts.add(text, self.origin(&format!("retry.{field}"), is_default)),
            };
        let attempts = |attempts: u32| format!("attempts {attempts}");
        let statuses = |statuses: &[u16]| format!("on {}", list(statuses.iter().map(u16::to_string)));
        let backoff = |base_ms: u64| format!("backoff {}", duration_text(base_ms));
        add(
            "attempts",
            attempts(own.attempts),
            own.attempts == default.attempts,
            of_rule.and_then(|(rule, route)| Some((attempts(rule.attempts?), route))),
        );
        add(
            "statuses",
            statuses(&own.statuses),
            own.statuses == default.statuses,
            of_rule.and_then(|(rule, route)| Some((statuses(rule.statuses.as_ref()?), route))),
        );
        let grpc = list(own.grpc_statuses.iter().map(|status| grpc_status::name(*status).to_owned()));
        add("grpcStatuses", format!("gRPC {grpc}"), own.grpc_statuses == default.grpc_statuses, None);
        let safe = if own.idempotent { "whatever the method" } else { "where it is safe" };
        add("idempotent", safe.to_owned(), own.idempotent == default.idempotent, None);
        let base_ms = of_rule.and_then(|(rule, _)| rule.backoff_base_ms);
        add(
            "backoff.base",
            backoff(own.backoff_base_ms),
            own.backoff_base_ms == default.backoff_base_ms,
            of_rule.and_then(|(_, route)| Some((backoff(base_ms?), route))),
        );
        // A rule's first wait may be above the cluster's longest, and is the longest then.
        let longer_ms = base_ms.filter(|base_ms| *base_ms > own.backoff_max_ms);
        let longest = |time_ms: u64| format!("up to {}", duration_text(time_ms));
        add(
            "backoff.max",
            longest(own.backoff_max_ms),
            own.backoff_max_ms == default.backoff_max_ms,
            of_rule.and_then(|(_, route)| Some((longest(longer_ms?), route))),
        );
        let body = format!("bodies up to {} bytes", own.body_bytes_max);
        add("bodyBytes", body, own.body_bytes_max == default.body_bytes_max, None);
        parts.text()
    }

    fn budget(&self) -> String {
        let (own, default) = (self.backend.retry.budget, self.defaults.retry.budget);
        let floor = own.floor_per_1000_s;
        let rate = match (floor / 1_000, floor % 1_000) {
            (whole, 0) => whole.to_string(),
            (whole, part) => format!("{whole}.{part:03}"),
        };
        self.parts([
            (
                "retry.budget.percent",
                format!("{} % of requests", own.percent),
                own.percent == default.percent,
            ),
            (
                "retry.budget.window",
                format!("over {}", duration_text(own.window_ms)),
                own.window_ms == default.window_ms,
            ),
            (
                "retry.budget.floor",
                format!("and {rate} a second"),
                own.floor_per_1000_s == default.floor_per_1000_s,
            ),
        ])
    }

    fn hedge(&self) -> String {
        let Some(Hedge { percentile, delay_min_ms }) = self.backend.hedge else {
            return self.parts([("hedge", "none".to_owned(), true)]);
        };
        let (own, default) = (self.backend.retry.idempotent, self.defaults.retry.idempotent);
        let which = match (own, self.protocol) {
            (true, _) => "whatever the method",
            // They are POST.
            (false, Protocol::Grpc) => "calls with an Idempotency-Key alone",
            (false, _) => "where it is safe",
        };
        self.parts([
            ("hedge.percentile", format!("after {percentile} % of answers"), false),
            ("hedge.minDelay", format!("not before {}", duration_text(delay_min_ms)), false),
            ("retry.idempotent", which.to_owned(), own == default),
        ])
    }

    fn ejection(&self) -> String {
        let (own, default) = (self.backend.ejection, self.defaults.ejection);
        let counted = |text: &str, count: u32| match count {
            0 => format!("{text} ignored"),
            count => format!("{text} {count}"),
        };
        let percent = counted("failures in per cent", own.failure_percent);
        let slow = format!("slow answers (from {} on) in per cent", duration_text(own.slow_ms));
        let slow = counted(&slow, own.slow_percent);
        let deviation = counted("deviation in thousandths", own.deviation_permille);
        self.parts([
            (
                "ejection.consecutive",
                counted("failures in a row", own.consecutive),
                own.consecutive == default.consecutive,
            ),
            (
                "ejection.consecutiveLocal",
                counted("failed connects in a row", own.consecutive_local),
                own.consecutive_local == default.consecutive_local,
            ),
            ("ejection.failurePercent", percent, own.failure_percent == default.failure_percent),
            ("ejection.slowPercent", slow, own.slow_percent == default.slow_percent),
            (
                "ejection.minRequests",
                format!("of at least {} requests", own.requests_min),
                own.requests_min == default.requests_min,
            ),
            (
                "ejection.window",
                format!("in {}", duration_text(own.window_ms)),
                own.window_ms == default.window_ms,
            ),
            ("ejection.deviationPermille", deviation, own.deviation_permille == default.deviation_permille),
            ("ejection.base", format!("for {}", duration_text(own.base_ms)), own.base_ms == default.base_ms),
            ("ejection.max", format!("up to {}", duration_text(own.max_ms)), own.max_ms == default.max_ms),
            (
                "ejection.maxPercent",
                format!("at most {} % of endpoints", own.max_percent),
                own.max_percent == default.max_percent,
            ),
            (
                "ejection.panicPercent",
                format!("all are used below {} % healthy", own.panic_percent),
                own.panic_percent == default.panic_percent,
            ),
        ])
    }

    fn breaker(&self) -> String {
        let (own, default): (Breaker, Breaker) = (self.backend.breaker, self.defaults.breaker);
        let window = match own.window {
            BreakerWindow::Count(count) => format!("of the last {count} requests"),
            BreakerWindow::TimeMs(time_ms) => format!("of the last {}", duration_text(time_ms)),
        };
        let ramp = if own.ramp_ms == 0 {
            "back at once".to_owned()
        } else {
            format!("back over {}", duration_text(own.ramp_ms))
        };
        self.parts([
            (
                "breaker.failurePercent",
                format!("failures {} %", own.failure_percent),
                own.failure_percent == default.failure_percent,
            ),
            (
                "breaker.slowPercent",
                format!("slow {} %", own.slow_percent),
                own.slow_percent == default.slow_percent,
            ),
            (
                "breaker.slowAfter",
                format!("slow is {}", duration_text(own.slow_ms)),
                own.slow_ms == default.slow_ms,
            ),
            ("breaker.window", window, own.window == default.window),
            (
                "breaker.minRequests",
                format!("at least {} requests", own.requests_min),
                own.requests_min == default.requests_min,
            ),
            (
                "breaker.endpointsPercent",
                format!("{} % of endpoints failing", own.endpoints_percent),
                own.endpoints_percent == default.endpoints_percent,
            ),
            (
                "breaker.open",
                format!("open for {}", duration_text(own.open_ms)),
                own.open_ms == default.open_ms,
            ),
            (
                "breaker.openMax",
                format!("up to {}", duration_text(own.open_max_ms)),
                own.open_max_ms == default.open_max_ms,
            ),
            ("breaker.probes", format!("probes {}", own.probes), own.probes == default.probes),
            ("breaker.successes", format!("successes {}", own.successes), own.successes == default.successes),
            ("breaker.ramp", ramp, own.ramp_ms == default.ramp_ms),
        ])
    }

    fn health_check(&self) -> String {
        let Some(check) = &self.backend.health_check else {
            return self.parts([("healthCheck", "none".to_owned(), true)]);
        };
        let probe = match &check.probe {
            Probe::Http { path, host: Some(host) } => format!("GET {path} of {host}"),
            Probe::Http { path, host: None } => format!("GET {path}"),
            Probe::Grpc { service } if service.is_empty() => "gRPC health of the server".to_owned(),
            Probe::Grpc { service } => format!("gRPC health of {service}"),
            Probe::Tcp => "a connection".to_owned(),
        };
        let HealthCheck { interval_ms, fast_interval_ms, timeout_ms, unhealthy, healthy, .. } = *check;
        let first = if check.wait_for_first { "before the first request" } else { "beside requests" };
        self.parts([
            ("healthCheck", probe, false),
            ("healthCheck.interval", format!("every {}", duration_text(interval_ms)), false),
            ("healthCheck.fastInterval", format!("{} if not well", duration_text(fast_interval_ms)), false),
            ("healthCheck.timeout", format!("answered within {}", duration_text(timeout_ms)), false),
            ("healthCheck.unhealthy", format!("out after {unhealthy} failures"), false),
            ("healthCheck.healthy", format!("back after {healthy} successes"), false),
            ("healthCheck.waitForFirst", first.to_owned(), false),
        ])
    }

    fn zones(&self) -> String {
        match self.backend.zone_preference {
            None => self.parts([("zonePreference.enabled", "all alike".to_owned(), true)]),
            Some(ZonePreference { endpoints_min }) => self.parts([
                ("zonePreference.enabled", "the own preferred".to_owned(), false),
                ("zonePreference.minEndpoints", format!("with at least {endpoints_min} endpoints"), false),
            ]),
        }
    }

    fn subset(&self) -> String {
        let text = subset::text(self.backend, self.facts);
        let field = match self.backend.subset {
            None => "subset.enabled",
            Some(_) => "subset.minEndpoints",
        };
        self.parts([(field, text, Subset::is_default(&self.backend.subset))])
    }

    fn slow_start(&self) -> String {
        let (own, default) = (self.backend.slow_start_ms, self.defaults.slow_start_ms);
        self.parts([("slowStart", time_or_none(own), own == default)])
    }
}

/// A time limit; 0 is none.
fn time_or_none(milliseconds: u64) -> String {
    if milliseconds == 0 { "none".to_owned() } else { duration_text(milliseconds) }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(" ") }
}

fn balance_text(balance: &Balance) -> String {
    match balance {
        Balance::PeakEwma => "peak EWMA".to_owned(),
        Balance::LeastRequest => "least request".to_owned(),
        Balance::RoundRobin => "round robin".to_owned(),
        Balance::Random => "random".to_owned(),
        Balance::ConsistentHash(key) => format!("consistent hash of {}", key_text(key)),
        Balance::ShuffleShard(ShuffleShard { size, key }) => {
            format!("shards of {size} endpoints by {}", key_text(key))
        }
    }
}

fn key_text(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("the header {name}"),
        HashKey::Cookie(name) => format!("the cookie {name}"),
        HashKey::Source => "the caller's address".to_owned(),
    }
}
