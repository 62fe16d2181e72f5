//! The defaults in the reference are those of the compiler.

use outrigger_snapshot::policy::{Backend, BreakerWindow, HealthCheck, Inbound, Probe, Protocol, Shed};

use super::super::super::grpc_status;
use super::super::super::model::{HedgeSettings, InboundSettings, Settings, Switch};
use super::super::super::resource::Kind;
use super::super::super::text::duration_text;
use super::super::Shape;
use super::{document, rows};

#[test]
fn the_defaults_in_the_reference_are_those_of_the_compiler() {
    let text = document("CONFIG.md");
    for (protocol, column) in [(Protocol::Http, 1), (Protocol::Grpc, 2)] {
        for (field, value) in defaults(protocol) {
            let row = text.lines().find(|line| line.starts_with(&format!("| {field} |")));
            let cells: Vec<&str> =
                row.unwrap_or_default().trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.get(column), Some(&value.as_str()), "{field} for {protocol:?}");
        }
    }
}

/// Every field of a policy that holds one value has its default in the table.
#[test]
fn the_reference_has_the_default_of_each_field() {
    let known: Vec<&str> = defaults(Protocol::Http).into_iter().map(|(field, _)| field).collect();
    for row in rows(Kind::BackendPolicy) {
        let Some(field) = row.path.strip_prefix("spec.") else { continue };
        // What is picked, asked or counted by, and what is there only inside of what is off by default.
        let other = [
            "targetRefs",
            "balance.hash",
            "balance.shardSize",
            "healthCheck.http",
            "healthCheck.grpc",
            "healthCheck.tcp",
            "tls.clientCertificateRef",
        ];
        let group = matches!(row.field.shape(), Some(Shape::Object(_)));
        if !group && !other.iter().any(|prefix| field.starts_with(prefix)) {
            assert!(known.contains(&field), "no default of {field}");
        }
    }
}

#[test]
fn the_reference_has_what_holds_without_an_inbound_policy() {
    let text = document("CONFIG.md");
    let section = text.split("\n## ").find(|section| section.starts_with("InboundPolicy")).unwrap();
    let Inbound { shed, rate_limits, trusted, authorization, priorities, tls } =
        InboundSettings::effective([]);
    let Shed { tolerance_percent, exempt } = shed.clone().unwrap();
    assert!(authorization.is_none() && priorities.is_empty() && tls.is_none());
    assert!(tolerance_percent.is_none() && exempt.is_empty() && rate_limits.is_empty() && trusted.is_empty());
    for (field, value) in [
        ("shed.enabled", shed.is_some().to_string()),
        ("shed.tolerance", "by the number of cores".to_owned()),
        ("shed.exempt", "none".to_owned()),
        ("rateLimits", "none".to_owned()),
        ("authorization", "everybody".to_owned()),
        ("priorities", "none".to_owned()),
        ("trustedSources", "none".to_owned()),
        ("tls", "none ends here, but that of the mesh".to_owned()),
    ] {
        assert!(section.contains(&format!("\n| {field} | {value} |")), "{field}");
    }
}

/// What holds where no policy says anything; inside of what is off by default, what holds once it is on.
fn defaults(protocol: Protocol) -> Vec<(&'static str, String)> {
    let mut settings = Settings {
        hedge: Some(Switch::On(HedgeSettings { percentile: None, delay_min_ms: None })),
        ..Settings::default()
    };
    settings.zones.enabled = Some(true);
    let by_default = Settings::effective([], protocol);
    let backend = Settings::effective([&settings], protocol);
    let check = HealthCheck::new(Probe::Tcp);
    let mut rows = of_resilience(&backend);
    let (timeouts, limits, hedge) = (backend.timeouts, backend.limits, backend.hedge.unwrap());
    rows.extend([
        ("balance.policy", format!("{:?}", backend.balance)),
        ("timeouts.connect", duration(timeouts.connect_ms)),
        ("timeouts.request", duration(timeouts.request_ms)),
        ("timeouts.try", duration(timeouts.try_ms)),
        ("timeouts.firstByte", duration(timeouts.first_byte_ms)),
        ("timeouts.idle", duration(timeouts.idle_ms)),
        ("timeouts.bodyStall", duration(timeouts.body_stall_ms)),
        ("timeouts.tunnelIdle", duration(timeouts.tunnel_idle_ms)),
        ("limits.connections", limits.connections.to_string()),
        ("limits.pending", limits.pending.to_string()),
        ("limits.requests", limits.requests.to_string()),
        ("limits.endpointRequests", limits.endpoint_requests.to_string()),
        ("discovery.onEmpty", format!("{:?}", backend.on_empty).to_lowercase()),
        ("hedge.enabled", by_default.hedge.is_some().to_string()),
        ("hedge.percentile", hedge.percentile.to_string()),
        ("hedge.minDelay", duration(hedge.delay_min_ms)),
        ("healthCheck.enabled", by_default.health_check.is_some().to_string()),
        ("healthCheck.interval", duration(check.interval_ms)),
        ("healthCheck.fastInterval", duration(check.fast_interval_ms)),
        ("healthCheck.timeout", duration(check.timeout_ms)),
        ("healthCheck.unhealthy", check.unhealthy.to_string()),
        ("healthCheck.healthy", check.healthy.to_string()),
        ("healthCheck.waitForFirst", check.wait_for_first.to_string()),
        ("slowStart", duration(backend.slow_start_ms)),
        ("zonePreference.enabled", by_default.zone_preference.is_some().to_string()),
        ("zonePreference.minEndpoints", backend.zone_preference.unwrap().endpoints_min.to_string()),
        ("subset.enabled", by_default.subset.is_some().to_string()),
        ("subset.minEndpoints", backend.subset.unwrap().endpoints_min.to_string()),
    ]);
    rows
}

fn of_resilience(backend: &Backend) -> Vec<(&'static str, String)> {
    let (retry, ejection, breaker) = (&backend.retry, &backend.ejection, &backend.breaker);
    let list = |numbers: &[u16]| numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let grpc: Vec<&str> = retry.grpc_statuses.iter().map(|status| grpc_status::name(*status)).collect();
    let (time, count) = match breaker.window {
        BreakerWindow::TimeMs(time) => (duration(time), "none".to_owned()),
        BreakerWindow::Count(count) => ("none".to_owned(), count.to_string()),
    };
    vec![
        ("retry.attempts", retry.attempts.to_string()),
        ("retry.statuses", list(&retry.statuses)),
        ("retry.grpcStatuses", grpc.join(", ")),
        ("retry.idempotent", retry.idempotent.to_string()),
        ("retry.backoff.base", duration(retry.backoff_base_ms)),
        ("retry.backoff.max", duration(retry.backoff_max_ms)),
        ("retry.bodyBytes", retry.body_bytes_max.to_string()),
        ("retry.budget.percent", retry.budget.percent.to_string()),
        ("retry.budget.window", duration(retry.budget.window_ms)),
        ("retry.budget.floor.count", (retry.budget.floor_per_1000_s / 1_000).to_string()),
        ("retry.budget.floor.interval", "1s".to_owned()),
        ("ejection.consecutive", ejection.consecutive.to_string()),
        ("ejection.consecutiveLocal", ejection.consecutive_local.to_string()),
        ("ejection.failurePercent", ejection.failure_percent.to_string()),
        ("ejection.slowPercent", ejection.slow_percent.to_string()),
        ("ejection.slowAfter", duration(ejection.slow_ms)),
        ("ejection.minRequests", ejection.requests_min.to_string()),
        ("ejection.window", duration(ejection.window_ms)),
        ("ejection.deviationPermille", ejection.deviation_permille.to_string()),
        ("ejection.base", duration(ejection.base_ms)),
        ("ejection.max", duration(ejection.max_ms)),
        ("ejection.maxPercent", ejection.max_percent.to_string()),
        ("ejection.panicPercent", ejection.panic_percent.to_string()),
        ("breaker.failurePercent", breaker.failure_percent.to_string()),
        ("breaker.slowPercent", breaker.slow_percent.to_string()),
        ("breaker.slowAfter", duration(breaker.slow_ms)),
        ("breaker.window.time", time),
        ("breaker.window.requests", count),
        ("breaker.minRequests", breaker.requests_min.to_string()),
        ("breaker.endpointsPercent", breaker.endpoints_percent.to_string()),
        ("breaker.open", duration(breaker.open_ms)),
        ("breaker.openMax", duration(breaker.open_max_ms)),
        ("breaker.probes", breaker.probes.to_string()),
        ("breaker.successes", breaker.successes.to_string()),
        ("breaker.ramp", duration(breaker.ramp_ms)),
    ]
}

fn duration(milliseconds: u64) -> String {
    if milliseconds == 0 { "none".to_owned() } else { duration_text(milliseconds) }
}
