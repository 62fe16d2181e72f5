//! What would happen to a request, found by the router that proxies run.

use outrigger_snapshot::facts::{AltName, Authorities, Discovery, Endpoint, Facts, UpstreamTls};
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::name::{ClusterName, ServiceName};
use outrigger_snapshot::policy::{
    Backend, Filter, HeaderEdit, PathEdit, PathMatch, Policy, Port, RouteMatch, Rule, TextMatch, ValueMatch,
};
use outrigger_snapshot::router::{Miss, Router, RouterError, Trial, trials};

use super::inbound::{self, limit_text};
use super::no_route::NoRoute;
use super::origin::{Origins, Place};
use super::settings::Settings;
use super::steps;
use crate::config::text::duration_text;
use crate::config::{Resource, grpc_status};

/// Endpoints that are listed one by one; the others are only counted.
const ENDPOINTS_LISTED: usize = 8;

struct Target {
    port: Port,
    rule: Option<Rule>,
}

/// The verdict on `head`, sent by a workload in `namespace`: lines of (name, text). What people wrote, if that is at hand, tells where
/// each value comes from.
pub(crate) fn verdict(
    policy: &Policy,
    facts: &Facts,
    namespace: &str,
    head: &RequestHead,
    written: Option<&[Resource]>,
) -> Result<Vec<(String, String)>, NoRoute> {
    let payload = |spec: outrigger_snapshot::router::RuleSpec<'_>| Target {
        port: spec.port.clone(),
        rule: spec.rule.cloned(),
    };
    let router = Router::build(policy, namespace, payload).map_err(NoRoute::Policy)?;
    let found = router.find(head).map_err(|miss| no_route(miss, policy, namespace, head))?;
    let (service, port) = (found.service, &found.rule.port);
    let origins = Origins::new(written);
    let mut lines = Lines::new(&origins, Some(head));
    lines.add("service", format!("{service}, port {} ({}, {})", port.port, port.protocol.name(), port.name));
    let Some(rule) = &found.rule.rule else {
        lines.add("rule", "none: the port has no routes, everything goes to its own endpoints".to_owned());
        let own = service.cluster(port.port);
        lines.cluster(&own, "all", policy, facts, None);
        return Ok(lines.lines);
    };
    lines.tried(trials(&port.rules, head));
    let place = Place { service, port_name: &port.name };
    let route = origins.route(place, &rule.name);
    let of_filters = |backend| origins.filters(place, &rule.name, backend);
    routed(&mut lines, rule, found.prefix, &route, of_filters, policy, facts);
    Ok(lines.lines)
}

/// A rule, and where it leads; `of_filters` says where its filters come from, or those of one of its backends.
pub(super) fn routed(
    lines: &mut Lines<'_>,
    rule: &Rule,
    prefix: Option<&str>,
    route: &str,
    of_filters: impl Fn(Option<usize>) -> Vec<String>,
    policy: &Policy,
    facts: &Facts,
) {
    lines.add("rule", format!("{} ({route})", rule.name));
    for (index, condition) in rule.matches.iter().enumerate() {
        lines.add(if index == 0 { "matches" } else { "or" }, match_text(condition));
    }
    if let Some(prefix) = prefix {
        lines.add("prefix", format!("{:?} matched", if prefix.is_empty() { "/" } else { prefix }));
    }
    lines.filters("filter", &rule.filters, &of_filters(None), route);
    let total: u64 = rule.backends.iter().map(|backend| u64::from(backend.weight)).sum();
    for (index, backend) in rule.backends.iter().enumerate() {
        let cluster = backend.service.cluster(backend.port);
        lines.cluster(&cluster, &share(backend.weight, total), policy, facts, Some((rule, route)));
        lines.filters("  filter", &backend.filters, &of_filters(Some(index)), route);
    }
    if total == 0 && !rule.filters.iter().any(|filter| matches!(filter, Filter::Redirect(_))) {
        lines.add("cluster", "none has a share: the proxy would answer 500".to_owned());
    }
}

/// What is said, line by line.
pub(super) struct Lines<'a> {
    lines: Vec<(String, String)>,
    origins: &'a Origins<'a>,
    /// `None`: of a connection.
    pub(super) head: Option<&'a RequestHead>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(origins: &'a Origins<'a>, head: Option<&'a RequestHead>) -> Self {
        Self { lines: Vec::new(), origins, head }
    }

    /// Each with its name.
    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.lines
    }

    pub(super) fn add(&mut self, name: &str, text: String) {
        self.lines.push((name.to_owned(), text));
    }

    /// What was tried before the rule was found.
    pub(super) fn tried(&mut self, trials: Result<Vec<Trial<'_>>, RouterError>) {
        let (Ok(trials), Some(head)) = (trials, self.head) else { return };
        for line in steps::unmet(&trials, head) {
            self.add("tried", line);
        }
    }

    /// Filters, and where each comes from; where that is not at hand, of `route`.
    fn filters(&mut self, name: &str, filters: &[Filter], origins: &[String], route: &str) {
        for (index, filter) in filters.iter().enumerate() {
            let unknown = match filter {
                Filter::RateLimit(_) | Filter::Fault(_) => "a RouteFilter",
                _ => route,
            };
            let origin = origins.get(index).map_or(unknown, String::as_str);
            self.add(name, format!("{} ({origin})", filter_text(filter)));
        }
    }

    /// A cluster, and how it would be used by `rule`.
    pub(super) fn cluster(
        &mut self,
        name: &ClusterName,
        share: &str,
        policy: &Policy,
        facts: &Facts,
        rule: Option<(&Rule, &str)>,
    ) {
        self.add("cluster", format!("{name}, {share}"));
        let known = facts.clusters.get(name);
        let discovery = known.map(|cluster| &cluster.discovery);
        self.add("  endpoints", discovery.map_or_else(|| "none".to_owned(), discovery_text));
        if let Some(tls) = known.and_then(|cluster| cluster.tls.as_ref()) {
            self.add("  tls", upstream_text(tls));
        }
        let port = policy
            .services
            .get(&name.service)
            .and_then(|service| service.ports.iter().find(|port| port.port == name.port));
        let Some(port) = port else {
            self.add(
                "  settings",
                "none: this service can't be called from here; the proxy would answer 500".to_owned(),
            );
            return;
        };
        let defaults = Backend::defaults_for(port.protocol);
        self.add("  protocol", port.protocol.name().to_owned());
        let place = Place { service: &name.service, port_name: &port.name };
        for (group, text) in Settings::new(self.origins, place, port, &defaults, known, rule).lines() {
            self.add(&format!("  {group}"), text);
        }
        // What comes to a service is the affair of its own sidecars, which a gateway's scope says nothing of.
        let inbound = match policy.gateway {
            Some(_) => inbound::header(port).into_iter().collect(),
            None => inbound::lines(self.origins, place, port, self.head),
        };
        for (group, text) in inbound {
            self.add(&format!("  {group}"), text);
        }
    }
}

impl NoRoute {
    /// That none of the rules matches that were tried.
    pub(super) fn of_trials(
        service: &str,
        head: &RequestHead,
        trials: Result<Vec<Trial<'_>>, RouterError>,
    ) -> Self {
        let rules = match trials {
            Ok(trials) => steps::unmet(&trials, head),
            Err(error) => return Self::Policy(error),
        };
        let rules: Vec<String> = rules.iter().map(|rule| format!("  {rule}")).collect();
        Self::Rule {
            service: service.to_owned(),
            method: head.method().to_string(),
            path: head.path_and_query().to_string(),
            rules: rules.join("\n"),
        }
    }
}

fn no_route(miss: Miss, policy: &Policy, namespace: &str, head: &RequestHead) -> NoRoute {
    let host = head.authority().host().to_owned();
    let called = policy.services.iter().find(|(name, service)| called_by(&host, name, service, namespace));
    match (miss, called) {
        (Miss::Port, Some((name, service))) => {
            let ports = service.ports.iter().filter(|port| port.protocol.is_http());
            let known: Vec<String> = ports.map(|port| port.port.to_string()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let port = head.authority().port().map_or_else(|| "at all".to_owned(), |port| port.to_string());
            NoRoute::Port { service: name.to_string(), port, known }
        }
        (Miss::Rule, Some((name, service))) => {
            let mut ports = service.ports.iter().filter(|port| port.protocol.is_http());
            let named = head.authority().port();
            let numbered = |number| service.ports.iter().find(|port| port.port == number);
            // As the router has it: a request without a port means port 80 where there is one, else the first.
            let port = named.or(Some(80)).and_then(numbered).or_else(|| ports.next());
            let rules = port.iter().flat_map(|port| &port.rules);
            NoRoute::of_trials(&name.to_string(), head, trials(rules, head))
        }
        _ => no_host(policy, host),
    }
}

pub(super) fn no_host(policy: &Policy, host: String) -> NoRoute {
    let known: Vec<String> = policy.services.keys().map(ToString::to_string).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    NoRoute::Host { host, known }
}

pub(super) fn called_by(
    host: &str,
    name: &ServiceName,
    service: &outrigger_snapshot::policy::Service,
    namespace: &str,
) -> bool {
    let own = [
        format!("{}.{}", name.name(), name.namespace()),
        format!("{}.{}.svc", name.name(), name.namespace()),
    ];
    service.hosts.iter().any(|further| further == host)
        || own.iter().any(|own| own == host)
        || (name.name() == host && name.namespace() == namespace)
}

pub(super) fn share(weight: u32, total: u64) -> String {
    if total == 0 {
        return "no share".to_owned();
    }
    format!("{:.1} % (weight {weight} of {total})", f64::from(weight) * 100.0 / total as f64)
}

fn discovery_text(discovery: &Discovery) -> String {
    match discovery {
        Discovery::Static(endpoints) => {
            let listed: Vec<String> = endpoints.iter().take(ENDPOINTS_LISTED).map(endpoint_text).collect();
            let more = endpoints.len().saturating_sub(ENDPOINTS_LISTED);
            let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
            if listed.is_empty() { "none".to_owned() } else { format!("{}{rest}", listed.join(", ")) }
        }
        Discovery::Dns(name) => format!("A and AAAA records of {}, port {}", name.name, name.port),
        Discovery::Srv(name) => format!("SRV records of {}", name.name),
    }
}

fn upstream_text(tls: &UpstreamTls) -> String {
    let names: Vec<&str> =
        tls.names.iter().map(|(AltName::Dns(name) | AltName::Uri(name))| name.as_str()).collect();
    let names = if names.is_empty() { String::new() } else { format!(", as one of {}", names.join(", ")) };
    let believed = match &tls.authorities {
        Authorities::System => "the proxy's system".to_owned(),
        Authorities::Listed(listed) => listed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    format!("asked for {}{names}, believed by {believed}", tls.hostname)
}

fn endpoint_text(endpoint: &Endpoint) -> String {
    let weight = if endpoint.weight == 1 { String::new() } else { format!(" weight {}", endpoint.weight) };
    let zone = endpoint.zone.as_ref().map(|zone| format!(" zone {zone}")).unwrap_or_default();
    format!("{}{weight}{zone}", endpoint.address)
}

pub(super) fn match_text(condition: &RouteMatch) -> String {
    let mut parts = vec![match &condition.path {
        PathMatch::Exact(path) => format!("path is {path}"),
        PathMatch::Prefix(path) => format!("path below {path}"),
        PathMatch::Regex(pattern) => format!("path matches /{pattern}/"),
    }];
    parts.extend(condition.method.as_ref().map(|method| format!("method is {method}")));
    parts.extend(condition.headers.iter().map(|value| format!("header {}", value_text(value))));
    parts.extend(condition.query.iter().map(|value| format!("query {}", value_text(value))));
    parts.join(", ")
}

fn value_text(value: &ValueMatch) -> String {
    match &value.value {
        TextMatch::Exact(text) => format!("{} is {text}", value.name),
        TextMatch::Regex(pattern) => format!("{} matches /{pattern}/", value.name),
    }
}

fn filter_text(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(edit) => format!("request headers: {}", edit_text(edit)),
        Filter::ResponseHeaders(edit) => format!("response headers: {}", edit_text(edit)),
        Filter::Redirect(redirect) => {
            let mut parts = vec![format!("answers {}", redirect.status)];
            parts.extend(redirect.scheme.as_ref().map(|scheme| format!("scheme {scheme}")));
            parts.extend(redirect.host.as_ref().map(|host| format!("host {host}")));
            parts.extend(redirect.port.map(|port| format!("port {port}")));
            parts.extend(redirect.path.as_ref().map(path_edit_text));
            format!("redirect: {}", parts.join(", "))
        }
        Filter::Rewrite(rewrite) => {
            let host = rewrite.host.as_ref().map(|host| format!("host {host}"));
            let parts: Vec<String> =
                host.into_iter().chain(rewrite.path.as_ref().map(path_edit_text)).collect();
            format!("rewrite: {}", parts.join(", "))
        }
        Filter::RateLimit(limit) => format!("rate limit {}", limit_text(limit)),
        Filter::Fault(fault) => {
            let delay = fault
                .delay
                .map(|delay| format!("{} % wait {}", delay.percent, duration_text(delay.delay_ms)));
            let abort = fault.abort.map(|abort| {
                let grpc = grpc_status::name(abort.grpc_status);
                format!("{} % get {}, by gRPC {grpc}", abort.percent, abort.status)
            });
            let parts: Vec<String> = delay.into_iter().chain(abort).collect();
            format!("fault: {}", parts.join(", "))
        }
    }
}

fn path_edit_text(edit: &PathEdit) -> String {
    match edit {
        PathEdit::Full(path) => format!("path becomes {path}"),
        PathEdit::Prefix(prefix) => format!("the matched prefix becomes {prefix}"),
    }
}

fn edit_text(edit: &HeaderEdit) -> String {
    let removed = edit.remove.iter().map(|name| format!("remove {name}"));
    let set = edit.set.iter().map(|(name, value)| format!("set {name}: {value}"));
    let added = edit.add.iter().map(|(name, value)| format!("add {name}: {value}"));
    removed.chain(set).chain(added).collect::<Vec<_>>().join(", ")
}
