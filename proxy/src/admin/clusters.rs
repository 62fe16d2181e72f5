//! `/clusters`: where requests can go, and how each place does.

use std::fmt::Write;

use http::StatusCode;
use serde::Serialize;

use super::answer::Answer;

/// One cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterView {
    /// `NAMESPACE/NAME:PORT`.
    pub name: String,
    /// What is spoken with it.
    pub protocol: &'static str,
    /// How endpoints are picked.
    pub balance: String,
    /// Requests in flight.
    pub in_flight: u64,
    /// What its breaker does with requests.
    pub breaker: &'static str,
    /// Where its endpoints come from, unless they are listed in the snapshot.
    pub dns: Option<DnsView>,
    /// By what some of them are this caller's, where each caller has some: `seat 7 of 200`, or `by name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// All of them.
    pub endpoints: Vec<EndpointView>,
}

/// What is known of a name.
#[derive(Debug, Clone, Serialize)]
pub struct DnsView {
    /// The name.
    pub name: String,
    /// Fresh, stale, or why there is nothing.
    pub state: String,
    /// Age of the answer in use, in milliseconds.
    pub age_ms: Option<u64>,
}

/// One endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointView {
    /// What is dialled.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// Whether it is one of this caller's, where each caller has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<bool>,
    /// Its zone.
    pub zone: Option<String>,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests sent to it since it is known.
    pub requests: u64,
    /// Those of them that it failed, or that could not be sent.
    pub failures: u64,
    /// How it is, and why.
    pub health: String,
    /// The balancer's estimate of its latency, in milliseconds, where it keeps one.
    pub cost_ms: Option<f64>,
}

pub(super) fn answer(clusters: &[ClusterView], query: &str) -> Answer {
    match query.split('&').find_map(|pair| pair.strip_prefix("format=")) {
        Some("json") => Answer::serialized(&clusters),
        None | Some("text") => Answer::text(StatusCode::OK, text(clusters)),
        Some(_) => Answer::text(StatusCode::BAD_REQUEST, "expected format=json or format=text\n"),
    }
}

fn text(clusters: &[ClusterView]) -> String {
    let mut text = String::new();
    for cluster in clusters {
        // A String takes every write.
        let _ = write_cluster(cluster, &mut text);
    }
    if text.is_empty() {
        text.push_str("no clusters\n");
    }
    text
}

fn write_cluster(cluster: &ClusterView, text: &mut String) -> std::fmt::Result {
    let ClusterView { name, protocol, balance, in_flight, breaker, dns, caller, endpoints } = cluster;
    let count = endpoints.len();
    write!(text, "{name}  {protocol}  {balance}  endpoints {count}")?;
    if let Some(caller) = caller {
        let own = endpoints.iter().filter(|endpoint| endpoint.own == Some(true)).count();
        write!(text, "  own {own}  {caller}")?;
    }
    write!(text, "  in flight {in_flight}")?;
    writeln!(text, "  breaker {breaker}")?;
    if let Some(DnsView { name, state, age_ms }) = dns {
        write!(text, "  dns {name}  {state}")?;
        if let Some(age_ms) = age_ms {
            write!(text, "  age {} s", age_ms / 1_000)?;
        }
        text.push('\n');
    }
    for EndpointView { address, weight, own, zone, in_flight, health, cost_ms, .. } in endpoints {
        write!(text, "  {address}  weight {weight}  in flight {in_flight}")?;
        if let Some(cost_ms) = cost_ms {
            write!(text, "  cost {cost_ms:.3} ms")?;
        }
        if *own == Some(true) {
            text.push_str("  own");
        }
        if let Some(zone) = zone {
            write!(text, "  zone {zone}")?;
        }
        write!(text, "  {health}")?;
        text.push('\n');
    }
    Ok(())
}
