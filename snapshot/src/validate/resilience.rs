//! Retries, ejection, breakers and health checks: what their types cannot say.

use super::{Invalid, at_most, check_text, check_timeout, invalid};
use crate::policy::{Backend, Breaker, BreakerWindow, Ejection, HealthCheck, Hedge, Probe, Retry, RuleRetry};

/// Tries of one request beyond the first.
pub const ATTEMPTS_MAX: u32 = 10;
/// Longest request body that is kept to be sent again, in bytes.
pub const REPLAY_BYTES_MAX: u32 = 1024 * 1024;
/// Statuses that are tried again.
const STATUSES_MAX: usize = 64;
/// Largest count of requests that a rate is taken over.
const WINDOW_REQUESTS_MAX: u32 = 10_000;
/// Probes of a breaker, at a time and until it closes.
const PROBES_MAX: u32 = 100;

pub(super) fn check(place: &str, backend: &Backend) -> Result<(), Invalid> {
    check_retry(place, &backend.retry)?;
    if let Some(hedge) = &backend.hedge {
        check_hedge(place, hedge)?;
    }
    check_ejection(place, &backend.ejection)?;
    check_breaker(place, &backend.breaker)?;
    backend.health_check.as_ref().map_or(Ok(()), |check| check_health_check(place, check))
}

pub(super) fn check_rule_retry(place: &str, retry: &RuleRetry) -> Result<(), Invalid> {
    if let Some(attempts) = retry.attempts {
        within(place, "retry attempts", attempts, 0, ATTEMPTS_MAX)?;
    }
    if let Some(statuses) = &retry.statuses {
        check_statuses(place, statuses)?;
    }
    retry.backoff_base_ms.map_or(Ok(()), |base_ms| check_timeout(place, base_ms))
}

fn check_retry(place: &str, retry: &Retry) -> Result<(), Invalid> {
    within(place, "retry attempts", retry.attempts, 0, ATTEMPTS_MAX)?;
    within(place, "bytes kept to be sent again", retry.body_bytes_max, 0, REPLAY_BYTES_MAX)?;
    check_statuses(place, &retry.statuses)?;
    at_most(place, "gRPC statuses", retry.grpc_statuses.len(), STATUSES_MAX)?;
    for status in &retry.grpc_statuses {
        within(place, "gRPC status", u32::from(*status), 1, 16)?;
    }
    check_timeout(place, retry.backoff_base_ms)?;
    check_timeout(place, retry.backoff_max_ms)?;
    check_timeout(place, retry.budget.window_ms)?;
    if retry.budget.window_ms < 1_000 {
        return Err(invalid(place, "a retry budget over less than a second".into()));
    }
    percent(place, "retry budget", retry.budget.percent)
}

fn check_statuses(place: &str, statuses: &[u16]) -> Result<(), Invalid> {
    at_most(place, "retry statuses", statuses.len(), STATUSES_MAX)?;
    for status in statuses {
        within(place, "retry status", u32::from(*status), 400, 599)?;
    }
    Ok(())
}

fn check_hedge(place: &str, hedge: &Hedge) -> Result<(), Invalid> {
    within(place, "hedge percentile", hedge.percentile, 50, 99)?;
    check_timeout(place, hedge.delay_min_ms)
}

fn check_ejection(place: &str, ejection: &Ejection) -> Result<(), Invalid> {
    for (what, value) in [
        ("ejection failures", ejection.failure_percent),
        ("ejection slow answers", ejection.slow_percent),
        ("ejected endpoints", ejection.max_percent),
        ("panic threshold", ejection.panic_percent),
    ] {
        percent(place, what, value)?;
    }
    for time in [ejection.slow_ms, ejection.window_ms, ejection.base_ms, ejection.max_ms] {
        positive(place, "an ejection's times", time)?;
    }
    Ok(())
}

fn check_breaker(place: &str, breaker: &Breaker) -> Result<(), Invalid> {
    for (what, value) in [
        ("breaker failures", breaker.failure_percent),
        ("breaker slow requests", breaker.slow_percent),
        ("breaker endpoints", breaker.endpoints_percent),
    ] {
        percent(place, what, value)?;
    }
    for time in [breaker.slow_ms, breaker.open_ms, breaker.open_max_ms] {
        positive(place, "a breaker's times", time)?;
    }
    check_timeout(place, breaker.ramp_ms)?;
    match breaker.window {
        BreakerWindow::Count(count) => within(place, "breaker window", count, 1, WINDOW_REQUESTS_MAX)?,
        BreakerWindow::TimeMs(time) => positive(place, "a breaker's window", time)?,
    }
    within(place, "breaker probes", breaker.probes, 1, PROBES_MAX)?;
    within(place, "breaker successes", breaker.successes, 1, PROBES_MAX)
}

fn check_health_check(place: &str, check: &HealthCheck) -> Result<(), Invalid> {
    for time in [check.interval_ms, check.fast_interval_ms, check.timeout_ms] {
        positive(place, "a health check's times", time)?;
    }
    for threshold in [check.unhealthy, check.healthy] {
        within(place, "health check threshold", threshold, 1, 100)?;
    }
    match &check.probe {
        Probe::Http { path, host } => {
            if !path.starts_with('/') {
                return Err(invalid(
                    place,
                    format!("the health check path {path:?} does not start with '/'"),
                ));
            }
            check_text(place, path)?;
            host.as_ref().map_or(Ok(()), |host| check_text(place, host))
        }
        Probe::Grpc { service } => check_text(place, service),
        Probe::Tcp => Ok(()),
    }
}

fn positive(place: &str, what: &str, time_ms: u64) -> Result<(), Invalid> {
    if time_ms == 0 {
        return Err(invalid(place, format!("{what} cannot be 0")));
    }
    check_timeout(place, time_ms)
}

fn percent(place: &str, what: &str, value: u32) -> Result<(), Invalid> {
    within(place, what, value, 0, 100)
}

fn within(place: &str, what: &str, found: u32, least: u32, most: u32) -> Result<(), Invalid> {
    if (least..=most).contains(&found) {
        Ok(())
    } else {
        Err(invalid(place, format!("{what}: {found}, expected {least} to {most}")))
    }
}
