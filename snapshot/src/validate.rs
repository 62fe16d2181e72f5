//! What a decoded object must fulfil before anything is built from it. A proxy never trusts the wire: it runs this although the control
//! plane already has.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use crate::policy::{
    Backend, Balance, CONNECTION_RULES, Filter, PathEdit, PathMatch, Policy, Port, Rule, SCHEMA,
    SUBSET_ENDPOINTS_MIN, Service, Subset,
};

mod connection;
mod facts;
mod gateway;
mod inbound;
mod resilience;
mod telemetry;
#[cfg(test)]
mod tests;

pub use connection::HOSTNAMES_MAX;
pub use gateway::{AUTHORITIES_MAX, CERTIFICATES_MAX, LISTENERS_MAX};
pub use inbound::{
    ACCESS_RULES_MAX, EXEMPT_MAX, KEY_PARTS_MAX, PATH_ELEMENTS_MAX, PRIORITY_MAX, RATE_LIMITS_MAX,
    REQUESTS_MAX, REQUESTS_PER_MS_MAX, TOLERANCE_PERCENTS, TRUSTED_MAX, network,
};
pub use resilience::{ATTEMPTS_MAX, REPLAY_BYTES_MAX};

/// Features beyond the first schema that this build understands.
pub const FEATURES: &[&str] = &[
    MESH_TLS,
    MESH_CONNECTIONS,
    AUTHORIZATION,
    CONNECTION_ACCESS,
    CONNECTION_RULES,
    GRPC_RULES,
    IDENTITY_KEYS,
    PRIORITY_RULES,
    PROXY_PROTOCOL,
    GATEWAY,
    GATEWAY_INBOUND,
    SOURCE_CONDITIONS,
    UPSTREAM_TLS,
    INBOUND_TLS,
    SUBSETS,
    SEATS,
    SLOW_EJECTION,
    TELEMETRY,
    TELEMETRY_LABELS,
];

/// Endpoints that are dialled by mutual TLS, services that ask for it, and whom to believe.
pub const MESH_TLS: &str = "mesh_tls";
/// Endpoints of ports that carry no requests that are dialled by mutual TLS.
pub const MESH_CONNECTIONS: &str = "mesh_connections";
/// Who may call what.
pub const AUTHORIZATION: &str = "authorization";
/// Who may connect to ports that carry no requests.
pub const CONNECTION_ACCESS: &str = "connection_access";
/// Rules that say that they are of a `GRPCRoute`.
pub const GRPC_RULES: &str = "grpc_rules";
/// Rate limits by identity.
pub const IDENTITY_KEYS: &str = "identity_keys";
/// How much requests matter, whatever their callers say.
pub const PRIORITY_RULES: &str = "priority_rules";

/// Applications that expect a header of the PROXY protocol.
pub const PROXY_PROTOCOL: &str = "proxy_protocol";

/// What a gateway takes.
pub const GATEWAY: &str = "gateway";
/// What a gateway does about what it takes.
pub const GATEWAY_INBOUND: &str = "gateway_inbound";
/// Rules about callers at some addresses.
pub const SOURCE_CONDITIONS: &str = "source_conditions";
/// Endpoints that are dialled by TLS, whom to believe about them, and what is shown to them.
pub const UPSTREAM_TLS: &str = "upstream_tls";
/// Sidecars that end TLS with clients outside the mesh.
pub const INBOUND_TLS: &str = "inbound_tls";
/// Subsets of endpoints that are other than by default.
pub const SUBSETS: &str = "subsets";
/// Callers whose place among all is known.
pub const SEATS: &str = "seats";
/// Endpoints that are ejected because they are slow.
pub const SLOW_EJECTION: &str = "slow_ejection";
/// What is told of requests to a port.
pub const TELEMETRY: &str = "telemetry";
/// What is said of each of them under names of the operator's.
pub const TELEMETRY_LABELS: &str = "telemetry_labels";

/// Longest trust bundle, and longest text of revocation lists, in bytes of PEM.
pub const TRUST_BYTES_MAX: usize = 512 * 1024;

/// Services in one scope.
pub const SERVICES_MAX: usize = 100_000;
/// Ports of one service.
pub const PORTS_MAX: usize = 64;
/// Rules of one port.
pub const RULES_MAX: usize = 20_000;
/// Matches of one rule.
pub const MATCHES_MAX: usize = 128;
/// Filters of one rule or backend.
pub const FILTERS_MAX: usize = 32;
/// Backends of one rule.
pub const BACKENDS_MAX: usize = 64;
/// Largest weight: that of the Gateway API.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// Endpoints listed for one cluster.
pub const ENDPOINTS_MAX: usize = 20_000;
/// Endpoints of one shard.
pub const SHARD_ENDPOINTS_MAX: u32 = 16;
/// Longest time limit, in milliseconds: a day.
pub const TIMEOUT_MS_MAX: u64 = 86_400_000;
/// Longest text: a path, a pattern, a header value, in bytes.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Why an object is refused.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It is no JSON of the expected shape.
    #[error("not a {kind} object")]
    Shape {
        /// `policy` or `facts`.
        kind: &'static str,
        /// Where and why.
        #[source]
        error: serde_json::Error,
    },
    /// A later compiler wrote it.
    #[error("schema {found}, this build reads {SCHEMA}: upgrade the proxy")]
    Schema {
        /// What it says.
        found: u32,
    },
    /// It uses what this build does not know.
    #[error("it uses the feature {0:?}, which this build does not know: upgrade the proxy")]
    Feature(String),
    /// A value that the schema allows and the meaning does not.
    #[error("{place}: {what}")]
    Value {
        /// The service, port or rule.
        place: String,
        /// What is wrong.
        what: String,
    },
}

impl Policy {
    /// Decodes and checks the content of a policy object.
    pub fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let policy: Self = parse("policy", bytes)?;
        policy.check()?;
        Ok(policy)
    }

    /// Checks what the types cannot say.
    pub fn check(&self) -> Result<(), Invalid> {
        check_version(self.schema, self.features.iter())?;
        at_most("policy", "services", self.services.len(), SERVICES_MAX)?;
        self.gateway.as_ref().map_or(Ok(()), gateway::check)?;
        let mut hosts = HashSet::new();
        for (name, service) in &self.services {
            let place = name.to_string();
            for host in &service.hosts {
                if !hosts.insert(host.as_str()) {
                    return Err(invalid(&place, format!("the host {host:?} stands for two services")));
                }
                check_host(&place, host)?;
            }
            check_service(&place, service)?;
            let routed = service.ports.iter().any(|port| !port.connections.is_empty());
            if routed && !self.features.contains(CONNECTION_RULES) {
                return Err(invalid(
                    &place,
                    format!("it has connection rules, but not the feature {CONNECTION_RULES:?}"),
                ));
            }
        }
        Ok(())
    }
}

fn parse<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, Invalid> {
    serde_json::from_slice(bytes).map_err(|error| Invalid::Shape { kind, error })
}

fn invalid(place: &str, what: String) -> Invalid {
    Invalid::Value { place: place.to_owned(), what }
}

fn at_most(place: &str, what: &str, found: usize, most: usize) -> Result<(), Invalid> {
    if found > most {
        Err(invalid(place, format!("{found} {what}, at most {most} are allowed")))
    } else {
        Ok(())
    }
}

fn check_version<'a>(schema: u32, features: impl Iterator<Item = &'a String>) -> Result<(), Invalid> {
    if schema != SCHEMA {
        return Err(Invalid::Schema { found: schema });
    }
    for feature in features {
        if !FEATURES.contains(&feature.as_str()) {
            return Err(Invalid::Feature(feature.clone()));
        }
    }
    Ok(())
}

fn check_text(place: &str, text: &str) -> Result<(), Invalid> {
    at_most(place, "bytes of text", text.len(), TEXT_BYTES_MAX)
}

/// A further host: dotted labels in lower case. An underscore is allowed, since real hosts have it.
fn check_host(place: &str, host: &str) -> Result<(), Invalid> {
    let valid = host
        .parse::<crate::head::Authority>()
        .is_ok_and(|authority| authority.as_str() == host && authority.port().is_none());
    if valid {
        Ok(())
    } else {
        Err(invalid(place, format!("{host:?} is no host in lower case without a port")))
    }
}

fn check_service(place: &str, service: &Service) -> Result<(), Invalid> {
    if service.ports.is_empty() {
        return Err(invalid(place, "no port".into()));
    }
    at_most(place, "ports", service.ports.len(), PORTS_MAX)?;
    let mut numbers = HashSet::new();
    let mut names = HashSet::new();
    for port in &service.ports {
        if !numbers.insert(port.port) || !names.insert(port.name.as_str()) {
            return Err(invalid(place, format!("port {} ({}) stands twice", port.port, port.name)));
        }
        let place = format!("{place}:{}", port.port);
        check_port(&place, port)?;
        inbound::check_who_comes(&place, port, service.mtls)?;
    }
    Ok(())
}

fn check_port(place: &str, port: &Port) -> Result<(), Invalid> {
    if port.port == 0 || port.target_port == 0 {
        return Err(invalid(place, "port 0".into()));
    }
    check_backend(place, &port.backend)?;
    if let Some(inbound) = &port.inbound {
        inbound::check(place, inbound)?;
    }
    connection::check(place, port)?;
    if port.protocol.is_http() && port.proxy_protocol.is_some() {
        return Err(invalid(place, "a PROXY protocol header on a port that carries requests".into()));
    }
    at_most(place, "rules", port.rules.len(), RULES_MAX)?;
    let mut names = HashSet::new();
    for rule in &port.rules {
        if !names.insert(rule.name.as_str()) {
            return Err(invalid(place, format!("rule {:?} stands twice", rule.name)));
        }
        check_rule(&format!("{place} rule {}", rule.name), rule)?;
    }
    Ok(())
}

fn check_backend(place: &str, backend: &Backend) -> Result<(), Invalid> {
    let t = &backend.timeouts;
    let idle = [t.idle_ms, t.body_stall_ms, t.tunnel_idle_ms, backend.slow_start_ms];
    for timeout in [t.connect_ms, t.request_ms, t.try_ms, t.first_byte_ms].into_iter().chain(idle) {
        check_timeout(place, timeout)?;
    }
    if t.connect_ms == 0 || t.idle_ms == 0 {
        return Err(invalid(place, "the connect and idle timeouts cannot be 0".into()));
    }
    let l = &backend.limits;
    if l.connections == 0 || l.requests == 0 {
        return Err(invalid(place, "a limit of 0 connections or requests".into()));
    }
    check_choice(place, backend)?;
    backend.telemetry.as_ref().map_or(Ok(()), |telemetry| telemetry::check(place, telemetry))?;
    resilience::check(place, backend)
}

/// How an endpoint is chosen.
fn check_choice(place: &str, backend: &Backend) -> Result<(), Invalid> {
    if let Balance::ShuffleShard(shard) = &backend.balance
        && !(1..=SHARD_ENDPOINTS_MAX).contains(&shard.size)
    {
        let what = format!("a shard of {} endpoints, expected 1 to {SHARD_ENDPOINTS_MAX}", shard.size);
        return Err(invalid(place, what));
    }
    if backend.zone_preference.is_some() && backend.balance.key().is_some() {
        return Err(invalid(place, "a key decides on the endpoint, and so cannot the zone".into()));
    }
    if let Some(Subset { endpoints_min }) = backend.subset
        && !(SUBSET_ENDPOINTS_MIN..=ENDPOINTS_MAX as u32).contains(&endpoints_min)
    {
        let what = format!(
            "a subset of {endpoints_min} endpoints, expected {SUBSET_ENDPOINTS_MIN} to {ENDPOINTS_MAX}"
        );
        return Err(invalid(place, what));
    }
    Ok(())
}

fn check_timeout(place: &str, timeout_ms: u64) -> Result<(), Invalid> {
    if timeout_ms > TIMEOUT_MS_MAX {
        return Err(invalid(
            place,
            format!("a timeout of {timeout_ms} ms, at most {TIMEOUT_MS_MAX} are allowed"),
        ));
    }
    Ok(())
}

fn check_rule(place: &str, rule: &Rule) -> Result<(), Invalid> {
    check_text(place, &rule.name)?;
    if rule.matches.is_empty() {
        return Err(invalid(place, "no match".into()));
    }
    at_most(place, "matches", rule.matches.len(), MATCHES_MAX)?;
    for route_match in &rule.matches {
        let (PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Regex(path)) = &route_match.path;
        check_text(place, path)?;
        if !matches!(route_match.path, PathMatch::Regex(_)) && !path.starts_with('/') {
            return Err(invalid(place, format!("the path {path:?} does not start with '/'")));
        }
        at_most(place, "conditions", route_match.headers.len() + route_match.query.len(), MATCHES_MAX)?;
    }
    for timeout in [rule.request_timeout_ms, rule.try_timeout_ms].into_iter().flatten() {
        check_timeout(place, timeout)?;
    }
    if let Some(retry) = &rule.retry {
        resilience::check_rule_retry(place, retry)?;
    }
    check_filters(place, rule, &rule.filters)?;
    at_most(place, "backends", rule.backends.len(), BACKENDS_MAX)?;
    for backend in &rule.backends {
        if backend.port == 0 || backend.weight > WEIGHT_MAX {
            return Err(invalid(
                place,
                format!("backend {} with weight {}", backend.service, backend.weight),
            ));
        }
        check_filters(place, rule, &backend.filters)?;
    }
    Ok(())
}

fn check_filters(place: &str, rule: &Rule, filters: &[Filter]) -> Result<(), Invalid> {
    at_most(place, "filters", filters.len(), FILTERS_MAX)?;
    let only_prefixes =
        rule.matches.iter().all(|route_match| matches!(route_match.path, PathMatch::Prefix(_)));
    let mut limits = HashSet::new();
    for filter in filters {
        let path = match filter {
            Filter::Redirect(redirect) if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) => {
                return Err(invalid(place, format!("{} is no redirect status", redirect.status)));
            }
            Filter::Redirect(redirect) => &redirect.path,
            Filter::Rewrite(rewrite) => &rewrite.path,
            Filter::RateLimit(limit) => {
                inbound::check_rate_limit(place, limit)?;
                if !limits.insert(limit.name.as_str()) {
                    return Err(invalid(place, format!("rate limit {:?} stands twice", limit.name)));
                }
                &None
            }
            Filter::Fault(fault) => {
                inbound::check_fault(place, fault)?;
                &None
            }
            Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) => &None,
        };
        match path {
            Some(PathEdit::Prefix(_)) if !only_prefixes => {
                return Err(invalid(
                    place,
                    "a prefix can be replaced only where every match is on a prefix".into(),
                ));
            }
            Some(PathEdit::Full(path) | PathEdit::Prefix(path)) => check_text(place, path)?,
            None => {}
        }
    }
    Ok(())
}
