//! Shedding, rate limits and faults: what their types cannot say.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use http::header::HeaderName;

use super::{Invalid, at_most, check_text, check_timeout, gateway, invalid};
use crate::name::check_label;
use crate::policy::{Conditions, Fault, Inbound, InboundTls, Mtls, PathMatch, Port, RateKey, RateLimit};

/// Rate limits of one port.
pub const RATE_LIMITS_MAX: usize = 16;
/// Parts of one key.
pub const KEY_PARTS_MAX: usize = 8;
/// Elements of a path that a key can name.
pub const PATH_ELEMENTS_MAX: u32 = 32;
/// Longest period of a rate: a day, in milliseconds.
const PERIOD_MS_MAX: u64 = 86_400_000;
/// Requests per millisecond of a period: what is between two of them is a nanosecond at least.
pub const REQUESTS_PER_MS_MAX: u64 = 1_000_000;
/// Tolerances of shedding, per cent.
pub const TOLERANCE_PERCENTS: RangeInclusive<u32> = 110..=1_000;
/// Largest rate, and burst.
pub const REQUESTS_MAX: u32 = 100_000_000;
/// Networks whose word counts.
pub const TRUSTED_MAX: usize = 256;
/// Rules of one authorization, and entries of each list of one.
pub const ACCESS_RULES_MAX: usize = 256;
/// The priority that matters least.
pub const PRIORITY_MAX: u8 = 3;
/// Paths that are never shed.
pub const EXEMPT_MAX: usize = 64;

pub(super) fn check(place: &str, inbound: &Inbound) -> Result<(), Invalid> {
    if let Some(shed) = &inbound.shed {
        if shed.tolerance_percent.is_some_and(|percent| !TOLERANCE_PERCENTS.contains(&percent)) {
            return Err(invalid(place, "a tolerance that is not 110 to 1000 per cent".into()));
        }
        at_most(place, "exempt paths", shed.exempt.len(), EXEMPT_MAX)?;
        for path in &shed.exempt {
            check_text(place, path)?;
            if !path.starts_with('/') {
                return Err(invalid(place, format!("the exempt path {path:?} does not start with '/'")));
            }
        }
    }
    at_most(place, "rate limits", inbound.rate_limits.len(), RATE_LIMITS_MAX)?;
    let mut names = HashSet::new();
    for limit in &inbound.rate_limits {
        if !names.insert(limit.name.as_str()) {
            return Err(invalid(place, format!("rate limit {:?} stands twice", limit.name)));
        }
        check_rate_limit(place, limit)?;
    }
    let access = inbound.authorization.iter().flat_map(|authorization| &authorization.rules);
    at_most(place, "access rules", access.clone().count(), ACCESS_RULES_MAX)?;
    at_most(place, "priority rules", inbound.priorities.len(), ACCESS_RULES_MAX)?;
    for rule in access {
        check_text(place, &rule.name)?;
        check_conditions(place, &rule.about)?;
    }
    for rule in &inbound.priorities {
        check_conditions(place, &rule.about)?;
        if rule.priority > PRIORITY_MAX {
            return Err(invalid(
                place,
                format!("a priority of {}, of at most {PRIORITY_MAX}", rule.priority),
            ));
        }
    }
    inbound.tls.as_ref().map_or(Ok(()), |tls| check_tls(place, tls))?;
    at_most(place, "trusted networks", inbound.trusted.len(), TRUSTED_MAX)?;
    match inbound.trusted.iter().find(|text| network(text).is_none()) {
        Some(text) => Err(invalid(place, format!("{text:?} is neither an address nor a network"))),
        None => Ok(()),
    }
}

fn check_tls(place: &str, tls: &InboundTls) -> Result<(), Invalid> {
    gateway::check_termination(place, &tls.termination)?;
    if tls.cleartext && tls.termination.clients.as_ref().is_some_and(|clients| clients.required) {
        return Err(invalid(
            place,
            "clients that must prove who they are, and others that come in the clear".into(),
        ));
    }
    Ok(())
}

/// TLS with clients outside the mesh is ended where they may call, and where requests are looked at.
pub(super) fn check_who_comes(place: &str, port: &Port, mtls: Option<Mtls>) -> Result<(), Invalid> {
    let ends_tls = port.inbound.as_ref().is_some_and(|inbound| inbound.tls.is_some());
    match ends_tls {
        true if mtls == Some(Mtls::Strict) => {
            Err(invalid(place, "TLS with clients outside the mesh, who may not call".into()))
        }
        true if !port.protocol.is_http() => {
            Err(invalid(place, "TLS that ends at a port that carries no requests".into()))
        }
        _ => Ok(()),
    }
}

fn check_conditions(place: &str, about: &Conditions) -> Result<(), Invalid> {
    let Conditions { identities, namespaces, methods, paths, sources } = about;
    for (what, found) in [
        ("identities of a rule", identities.len()),
        ("namespaces of a rule", namespaces.len()),
        ("methods of a rule", methods.len()),
        ("paths of a rule", paths.len()),
        ("sources of a rule", sources.len()),
    ] {
        at_most(place, what, found, ACCESS_RULES_MAX)?;
    }
    if let Some(namespace) = namespaces.iter().find(|namespace| check_label(namespace).is_err()) {
        return Err(invalid(place, format!("{namespace:?} is no namespace")));
    }
    for path in paths {
        match path {
            PathMatch::Exact(text) | PathMatch::Prefix(text) if text.starts_with('/') => {
                check_text(place, text)?
            }
            other => return Err(invalid(place, format!("a rule for the path {other:?}"))),
        }
    }
    Ok(())
}

pub(super) fn check_rate_limit(place: &str, limit: &RateLimit) -> Result<(), Invalid> {
    let RateLimit { name, requests, period_ms, burst, key, global: _ } = limit;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'#');
    if name.is_empty() || name.len() > 256 || !name.bytes().all(plain) {
        return Err(invalid(place, format!("{name:?} is no name of a rate limit")));
    }
    let in_range = |value: u32| (1..=REQUESTS_MAX).contains(&value);
    if !in_range(*requests) || !in_range(*burst) {
        return Err(invalid(place, format!("a rate of {requests} with bursts of {burst}")));
    }
    if !(1..=PERIOD_MS_MAX).contains(period_ms) {
        return Err(invalid(place, format!("a rate per {period_ms} ms, of at most {PERIOD_MS_MAX}")));
    }
    // What is between two requests at that rate has to be a nanosecond at least, and the whole burst has to fit the clock.
    if u64::from(*requests) > period_ms * REQUESTS_PER_MS_MAX {
        return Err(invalid(place, format!("{requests} requests per {period_ms} ms")));
    }
    at_most(place, "parts of a rate limit's key", key.len(), KEY_PARTS_MAX)?;
    for part in key {
        match part {
            RateKey::Header(name) if HeaderName::from_lowercase(name.as_bytes()).is_err() => {
                return Err(invalid(place, format!("{name:?} is no header name in lower case")));
            }
            RateKey::PathElement(index) if *index >= PATH_ELEMENTS_MAX => {
                return Err(invalid(place, format!("element {index} of a path, of {PATH_ELEMENTS_MAX}")));
            }
            RateKey::Header(_) | RateKey::Source | RateKey::Identity | RateKey::PathElement(_) => {}
        }
    }
    Ok(())
}

pub(super) fn check_fault(place: &str, fault: &Fault) -> Result<(), Invalid> {
    let percents = [fault.delay.map(|delay| delay.percent), fault.abort.map(|abort| abort.percent)];
    if let Some(percent) = percents.into_iter().flatten().find(|percent| *percent > 100) {
        return Err(invalid(place, format!("a fault for {percent} per cent of the requests")));
    }
    if let Some(delay) = &fault.delay {
        check_timeout(place, delay.delay_ms)?;
    }
    match &fault.abort {
        Some(abort) if !(200..=599).contains(&abort.status) || abort.grpc_status > 16 => {
            Err(invalid(place, format!("a fault with status {} ({})", abort.status, abort.grpc_status)))
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads an address or a network: the address, and how many of its bits count.
pub fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        // `parse` would take a sign.
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
            bits.parse().ok().filter(|bits| *bits <= width)?
        }
        Some(_) => return None,
        None => width,
    };
    Some((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Abort, Backend, ClientCertificates, Delay, Protocol, Shed, Termination};

    fn limit() -> RateLimit {
        RateLimit {
            name: "calls".into(),
            requests: 100,
            period_ms: 1_000,
            burst: 10,
            key: vec![],
            global: false,
        }
    }

    #[test]
    fn what_can_be_done_is_accepted_and_what_cannot_is_not() {
        let inbound = |limit: RateLimit| Inbound { rate_limits: vec![limit], ..Inbound::default() };
        let trusted = |text: &str| Inbound { trusted: vec![text.into()], ..Inbound::default() };
        let shed = |tolerance_percent, exempt: &str| Inbound {
            shed: Some(Shed { tolerance_percent, exempt: vec![exempt.into()] }),
            ..Inbound::default()
        };
        let key = |part| inbound(RateLimit { key: vec![part], ..limit() });
        for (valid, inbound) in [
            (true, Inbound::default()),
            (true, inbound(limit())),
            (true, key(RateKey::Header("x-user".into()))),
            (false, key(RateKey::Header("X-User".into()))),
            (false, key(RateKey::Header("".into()))),
            (false, key(RateKey::PathElement(32))),
            (false, inbound(RateLimit { requests: 0, ..limit() })),
            (false, inbound(RateLimit { burst: 0, ..limit() })),
            (false, inbound(RateLimit { period_ms: 0, ..limit() })),
            (false, inbound(RateLimit { period_ms: u64::MAX, ..limit() })),
            (false, inbound(RateLimit { requests: 2_000_000, period_ms: 1, ..limit() })),
            (false, inbound(RateLimit { name: "a\"b".into(), ..limit() })),
            (false, Inbound { rate_limits: vec![limit(), limit()], ..Inbound::default() }),
            (true, trusted("10.0.0.0/8")),
            (true, trusted("::1")),
            (false, trusted("10.0.0.0/33")),
            (false, trusted("10.0.0.0/+8")),
            (false, trusted("10.0.0.0/")),
            (false, trusted("mesh")),
            (true, shed(Some(150), "/healthz")),
            (false, shed(Some(100), "/healthz")),
            (false, shed(None, "healthz")),
        ] {
            assert_eq!(check("port", &inbound).is_ok(), valid, "{inbound:?}");
        }
    }

    fn ending(certificates: usize, authorities: Option<(usize, bool)>, cleartext: bool) -> Inbound {
        let names = |count| vec!["a".parse().unwrap(); count];
        let clients =
            authorities.map(|(count, required)| ClientCertificates { authorities: names(count), required });
        let termination = Termination { certificates: names(certificates), only_tls13: false, clients };
        Inbound { tls: Some(InboundTls { termination, cleartext }), ..Inbound::default() }
    }

    #[test]
    fn clients_outside_the_mesh_are_shown_something_and_asked_what_can_be_answered() {
        for (valid, inbound) in [
            (true, ending(1, None, false)),
            (true, ending(2, Some((1, true)), false)),
            (true, ending(1, Some((1, false)), true)),
            (false, ending(0, None, false)),
            (false, ending(65, None, false)),
            (false, ending(1, Some((0, true)), false)),
            (false, ending(1, Some((9, true)), false)),
            (false, ending(1, Some((1, true)), true)),
        ] {
            assert_eq!(check("port", &inbound).is_ok(), valid, "{inbound:?}");
        }
    }

    #[test]
    fn clients_outside_the_mesh_come_where_they_may_and_where_requests_are_looked_at() {
        for (valid, protocol, mtls, tls) in [
            (true, Protocol::Http, None, true),
            (true, Protocol::Grpc, Some(Mtls::Permissive), true),
            (false, Protocol::Http, Some(Mtls::Strict), true),
            (true, Protocol::Http, Some(Mtls::Strict), false),
            (false, Protocol::Tcp, None, true),
            (true, Protocol::Tls, None, false),
        ] {
            let port = Port {
                name: "a".into(),
                port: 80,
                target_port: 80,
                protocol,
                rules: Vec::new(),
                connections: Vec::new(),
                backend: Backend::defaults_for(protocol),
                inbound: Some(if tls { ending(1, None, false) } else { Inbound::default() }),
                proxy_protocol: None,
            };
            assert_eq!(check_who_comes("port", &port, mtls).is_ok(), valid, "{protocol:?} {mtls:?} {tls}");
        }
    }

    #[test]
    fn faults_are_of_some_requests_and_answer_with_a_status() {
        let delay = |percent, delay_ms| Fault { delay: Some(Delay { percent, delay_ms }), abort: None };
        let abort = |percent, status, grpc_status| Fault {
            delay: None,
            abort: Some(Abort { percent, status, grpc_status }),
        };
        for (valid, fault) in [
            (true, delay(100, 1_000)),
            (false, delay(101, 1_000)),
            (false, delay(1, u64::MAX)),
            (true, abort(1, 503, 14)),
            (false, abort(200, 503, 14)),
            (false, abort(1, 99, 14)),
            (false, abort(1, 503, 17)),
        ] {
            assert_eq!(check_fault("rule", &fault).is_ok(), valid, "{fault:?}");
        }
    }
}
