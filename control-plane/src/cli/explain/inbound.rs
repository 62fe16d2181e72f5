//! What is done about requests that come to a port, and by whose word.

use outrigger_snapshot::policy::{
    Access, Authorization, Port, ProxyProtocol, ProxyVersion, ProxyWriter, RateKey, RateLimit,
};

use super::origin::{Origins, Parts, Place};
use crate::config::text::duration_text;

/// A line for each group of settings: its name and what holds. Of connections that are not looked into, who may open them.
pub(super) fn lines(origins: &Origins<'_>, place: Place<'_>, port: &Port) -> Vec<(&'static str, String)> {
    let inbound = port.inbound.clone().unwrap_or_default();
    let access = || {
        let of_authorization = origins.inbound_field(place, "authorization", inbound.authorization.is_none());
        let text = inbound.authorization.as_ref().map_or("everybody may call".to_owned(), access_text);
        ("access", format!("{text} ({of_authorization})"))
    };
    if !port.protocol.is_http() {
        let header = port.proxy_protocol.as_ref().map(|header| ("header", header_text(header)));
        return [access()].into_iter().chain(header).collect();
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
    let of_limits = origins.inbound_field(place, "rateLimits", inbound.rate_limits.is_empty());
    for limit in &inbound.rate_limits {
        lines.push(("rate limit", format!("{} ({of_limits})", limit_text(limit))));
    }
    if inbound.rate_limits.is_empty() {
        lines.push(("rate limit", format!("none ({of_limits})")));
    }
    lines.push(access());
    let of_priorities = origins.inbound_field(place, "priorities", inbound.priorities.is_empty());
    let priorities = match inbound.priorities.len() {
        0 => "as callers say".to_owned(),
        1 => "1 rule, else as callers say".to_owned(),
        count => format!("{count} rules, else as callers say"),
    };
    lines.push(("priorities", format!("{priorities} ({of_priorities})")));
    let trusted = if inbound.trusted.is_empty() { "nobody".to_owned() } else { inbound.trusted.join(" ") };
    let of_trusted = origins.inbound_field(place, "trustedSources", inbound.trusted.is_empty());
    lines.push(("trusted", format!("{trusted} ({of_trusted})")));
    lines
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
