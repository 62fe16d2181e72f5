//! What is done about requests that come to a port, and by whose word.

use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{
    Access, Authorization, Conditions, Inbound, Listener, Port, PriorityRule, ProxyProtocol, ProxyVersion,
    ProxyWriter, RateKey, RateLimit, Subject,
};

use super::gateway::tls_text;
use super::origin::{Origins, Parts, Place};
use crate::config::text::duration_text;

/// A line for each group of settings: its name and what holds. Of connections that are not looked into, who may open them.
pub(super) fn lines(
    origins: &Origins<'_>,
    place: Place<'_>,
    port: &Port,
    head: Option<&RequestHead>,
) -> Vec<(&'static str, String)> {
    let inbound = port.inbound.clone().unwrap_or_default();
    if !port.protocol.is_http() {
        return [access(origins, place, &inbound)].into_iter().chain(header(port)).collect();
    }
    let mut parts = Parts::default();
    let mut add = |field: &str, text: String, is_default: bool| {
        parts.add(text, origins.inbound_field(place, field, is_default));
    };
    match &inbound.shed {
        None => add("shed.enabled", "off".to_owned(), false),
        Some(shed) => {
            let tolerance = shed.tolerance_percent;
            let tolerance_text = tolerance.map_or("by cores".to_owned(), |percent| format!("{percent} %"));
            let exempt = if shed.exempt.is_empty() { "none".to_owned() } else { shed.exempt.join(" ") };
            add("shed.enabled", "on".to_owned(), true);
            add("shed.tolerance", format!("tolerance {tolerance_text}"), tolerance.is_none());
            add("shed.exempt", format!("exempt {exempt}"), shed.exempt.is_empty());
        }
    }
    let mut lines = vec![("shedding", parts.text())];
    lines.extend(limits(origins, place, &inbound));
    lines.push(access(origins, place, &inbound));
    lines.push(priorities(origins, place, &inbound, head));
    let trusted = if inbound.trusted.is_empty() { "nobody".to_owned() } else { inbound.trusted.join(" ") };
    let of_trusted = origins.inbound_field(place, "trustedSources", inbound.trusted.is_empty());
    lines.push(("trusted", format!("{trusted} ({of_trusted})")));
    if let Some(tls) = &inbound.tls {
        let cleartext = if tls.cleartext { "allowed" } else { "refused" };
        let text = format!("{}; clear text is {cleartext}", tls_text(&tls.termination));
        lines.push(("tls", format!("{text} ({})", origins.inbound_field(place, "tls", false))));
    }
    lines
}

/// The same of a listener of a gateway.
pub(super) fn listener_lines(
    origins: &Origins<'_>,
    place: Place<'_>,
    listener: &Listener,
    head: Option<&RequestHead>,
) -> Vec<(&'static str, String)> {
    let inbound = listener.inbound.clone().unwrap_or_else(|| Inbound { shed: None, ..Inbound::default() });
    let mut lines = Vec::new();
    if listener.protocol.is_http() {
        lines.extend(limits(origins, place, &inbound));
        lines.push(priorities(origins, place, &inbound, head));
    }
    lines.push(access(origins, place, &inbound));
    lines
}

fn access(origins: &Origins<'_>, place: Place<'_>, inbound: &Inbound) -> (&'static str, String) {
    let origin = origins.inbound_field(place, "authorization", inbound.authorization.is_none());
    let text = inbound.authorization.as_ref().map_or("everybody may call".to_owned(), access_text);
    ("access", format!("{text} ({origin})"))
}

fn limits(origins: &Origins<'_>, place: Place<'_>, inbound: &Inbound) -> Vec<(&'static str, String)> {
    let origin = origins.inbound_field(place, "rateLimits", inbound.rate_limits.is_empty());
    let line = |text: String| ("rate limit", format!("{text} ({origin})"));
    match &*inbound.rate_limits {
        [] => vec![line("none".to_owned())],
        limits => limits.iter().map(|limit| line(limit_text(limit))).collect(),
    }
}

fn priorities(
    origins: &Origins<'_>,
    place: Place<'_>,
    inbound: &Inbound,
    head: Option<&RequestHead>,
) -> (&'static str, String) {
    let origin = origins.inbound_field(place, "priorities", inbound.priorities.is_empty());
    ("priorities", format!("{} ({origin})", class_text(&inbound.priorities, head)))
}

/// What the application is told of its clients before the first byte, if anything.
pub(super) fn header(port: &Port) -> Option<(&'static str, String)> {
    port.proxy_protocol.as_ref().map(|header| ("header", header_text(header)))
}

/// How much a request matters, in words. Who sends it is not known here: rules about callers may come first.
fn class_text(rules: &[PriorityRule], head: Option<&RequestHead>) -> String {
    let subject = head.map(|head| Subject::new(None, head.method().as_str(), head.path()));
    let mut said = Vec::new();
    for (index, PriorityRule { priority, about }) in rules.iter().enumerate() {
        let anyone = Conditions {
            identities: Vec::new(),
            namespaces: Vec::new(),
            sources: Vec::new(),
            ..about.clone()
        };
        let Some(subject) = &subject else { break };
        if about.hold(subject) {
            said.push(format!("{priority} by priorities[{index}]"));
            return said.join(", else ");
        }
        if anyone.hold(subject) {
            said.push(format!("{priority} by priorities[{index}] for its callers"));
        }
    }
    said.push("as callers say".to_owned());
    said.join(", else ")
}

/// What the application is told of its clients, in words.
fn header_text(header: &ProxyProtocol) -> String {
    let version = match header.version {
        ProxyVersion::V1 => "V1",
        ProxyVersion::V2 => "V2",
    };
    let by = match header.written_by {
        ProxyWriter::Sidecar => "the sidecar beside the application",
        ProxyWriter::Callers => "the sidecars of its callers",
    };
    format!("PROXY protocol {version}, by {by}")
}

/// Who may call, in words.
fn access_text(authorization: &Authorization) -> String {
    let named = |wanted: Access| {
        let rules = authorization.rules.iter().filter(|rule| rule.access == wanted);
        rules.map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let mut parts = Vec::new();
    for (access, said) in [(Access::Deny, "denied by"), (Access::Allow, "allowed by")] {
        let names = named(access);
        if !names.is_empty() {
            parts.push(format!("{said} {names}"));
        }
    }
    parts.push(match authorization.default {
        Access::Allow => "else allowed".to_owned(),
        Access::Deny => "else denied".to_owned(),
    });
    if authorization.dry_run {
        parts.push("only counted (dryRun)".to_owned());
    }
    parts.join(", ")
}

/// A limit in words.
pub(super) fn limit_text(limit: &RateLimit) -> String {
    let key = |key: &RateKey| match key {
        RateKey::Header(name) => format!("header {name}"),
        RateKey::Source => "source".to_owned(),
        RateKey::Identity => "identity".to_owned(),
        RateKey::PathElement(index) => format!("element {index} of the path"),
    };
    let keys: Vec<String> = limit.key.iter().map(key).collect();
    let keys = if keys.is_empty() { String::new() } else { format!(", for each {}", keys.join(" and ")) };
    let counted = if limit.global { "over all sidecars" } else { "by each sidecar" };
    let RateLimit { name, requests, period_ms, burst, .. } = limit;
    let period = duration_text(*period_ms);
    format!("{name}: {requests} per {period}, bursts of {burst}{keys}, counted {counted}")
}
