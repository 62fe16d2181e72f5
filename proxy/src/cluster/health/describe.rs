//! An endpoint's health in words, for people.

use super::{Cause, Check, MS, Phase};
use crate::cluster::balance::screen::ramp;
use crate::cluster::endpoint::Endpoint;

/// How `endpoint` is at `now_ns`, and why. `reason` is what its last health check failed by.
pub fn describe(endpoint: &Endpoint, now_ns: u64, reason: Option<String>) -> String {
    let (standing, now_ms) = (endpoint.standing(), now_ns / MS);
    let check = match (standing.check, reason) {
        (Check::Well, _) => None,
        (Check::Failing, Some(reason)) => Some(format!("fails its health check: {reason}")),
        (Check::Failing, None) => Some("fails its health check".to_owned()),
        (Check::Awaited, Some(reason)) => Some(format!("waits for its first health check: {reason}")),
        (Check::Awaited, None) => Some("waits for its first health check".to_owned()),
    };
    let cause = cause(standing.cause);
    let phase = match standing.phase {
        Phase::In if check.is_none() && standing.ramping => {
            let rules = endpoint.cluster_health().rules();
            let share = ramp(standing, now_ms, rules.slow_start_ms) * 100.0;
            Some(format!("healthy, at {share:.0} % of its share"))
        }
        Phase::In => None,
        Phase::Out if now_ms >= standing.at_ms => Some(format!("ejected, a request may try it: {cause}")),
        Phase::Out => {
            let seconds = (standing.at_ms - now_ms).div_ceil(1_000);
            Some(format!("ejected for {seconds} s more: {cause}"))
        }
        Phase::Trial => Some(format!("ejected, a request is trying it: {cause}")),
    };
    match (phase, check) {
        (None, None) => "healthy".to_owned(),
        (Some(phase), None) => phase,
        (None, Some(check)) => check,
        (Some(phase), Some(check)) => format!("{phase}; {check}"),
    }
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Consecutive => "failures in a row",
        Cause::ConsecutiveLocal => "no connection several times in a row",
        Cause::FailurePercent => "too many failures",
        Cause::Deviation => "fails more than the others",
        Cause::Slow => "too many slow answers",
        Cause::Trial => "failed again when it was tried",
    }
}
