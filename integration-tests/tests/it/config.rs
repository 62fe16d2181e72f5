//! Resources as the tests write them.

use std::fmt::{Display, Write};
use std::net::SocketAddr;

/// Several resources as one file.
pub(crate) fn all(documents: &[String]) -> String {
    documents.join("\n---\n")
}

/// A service of port 80 with these endpoints.
pub(crate) fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    service_of(name, "HTTP", endpoints)
}

/// The same, of another protocol.
pub(crate) fn service_of(name: &str, protocol: &str, endpoints: &[SocketAddr]) -> String {
    let listed: Vec<String> = endpoints.iter().map(|addr| format!("{{address: '{addr}'}}")).collect();
    let endpoints = if listed.is_empty() {
        String::new()
    } else {
        format!("\n  endpoints: {{static: [{}]}}", listed.join(", "))
    };
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{name: main, port: 80, protocol: {protocol}}}]{endpoints}"
    )
}

/// A service found by DNS.
pub(crate) fn service_by_dns(name: &str, dns_name: &str, port: u16) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{name: main, port: 80, protocol: HTTP}}]\n  endpoints: {{dns: {{name: {dns_name}, port: {port}}}}}"
    )
}

/// A route on the service of that name; each rule is the lines under one `-`.
pub(crate) fn route(service: &str, rules: &[String]) -> String {
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {service}}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: {service}}}]\n  rules:"
    );
    for rule in rules {
        let mut dash = "-";
        for line in rule.lines() {
            write!(text, "\n  {dash} {line}").expect("a String takes every write");
            dash = " ";
        }
    }
    text
}

/// `backendRefs: …` of these services and weights.
pub(crate) fn backends<W: Display>(weighted: &[(&str, W)]) -> String {
    let listed: Vec<String> = weighted
        .iter()
        .map(|(name, weight)| format!("{{name: {name}, port: 80, weight: {weight}}}"))
        .collect();
    format!("backendRefs: [{}]", listed.join(", "))
}

/// A policy on the service of that name.
pub(crate) fn backend_policy(service: &str, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: BackendPolicy\nmetadata: {{name: {service}}}\nspec:\n  \
         targetRefs: [{{group: \"\", kind: Service, name: {service}}}]\n  {spec}"
    )
}
