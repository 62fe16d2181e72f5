//! Who calls whom, and how that goes: counts that proxies report, added up by service.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use outrigger_snapshot::name::DEFAULT_NAMESPACE;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{LeftOut, bounded, of_kind};
use crate::reports::{ClusterTraffic, Proxy, Traffic};

/// Most services in one overview.
pub const SERVICES_MAX: usize = 1_000;
/// Most edges.
pub const EDGES_MAX: usize = 2_000;

const INBOUND: &str = "inbound";
const OUTBOUND: &str = "outbound";
/// The bound of a bucket that has none.
const BOUNDLESS: u64 = u64::MAX;

/// A service, or what else is called or has a proxy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Service {
    /// `namespace/name`.
    pub service: String,
    /// The kind of resource of the newest revision that it is: `Service`, `Gateway`; empty if none.
    pub kind: String,
    /// Proxies beside it that report.
    pub proxies: usize,
    /// Of those: run the newest release and have nothing to complain of.
    pub well: usize,
    /// Proxies that reported before, but not in the last minute.
    pub silent: usize,
    /// What came of the requests to it, as its own proxies see it; absent if none says.
    pub served: Option<Figures>,
}

/// One service calls another.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Edge {
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// At which ports.
    pub ports: BTreeSet<String>,
    /// What came of it lately, as the callers' proxies see it; absent if none of those that report says.
    pub figures: Option<Figures>,
    /// How old the newest report is that tells of it, in milliseconds.
    pub heard_age_ms: u64,
}

/// What came of requests lately.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Figures {
    /// Requests in a second.
    pub rate: f64,
    /// Requests that were counted.
    pub requests: u64,
    /// Of those: ended with a status of 500 or more, or as a call of gRPC that failed by no fault of its caller, or without any.
    pub failures: u64,
    /// The share of the others, from 0 to 1; absent if there were no requests.
    pub success: Option<f64>,
    /// Half of them took no longer.
    pub p50: Option<Latency>,
    /// 99 of 100 took no longer.
    pub p99: Option<Latency>,
    /// Connections that were carried without being looked into, and have ended.
    pub connections: u64,
    /// Connections of that kind that are open.
    pub open: u64,
    /// For how long it was counted, in milliseconds; of several proxies, the longest.
    pub window_ms: u64,
    /// How old the oldest report among them is, in milliseconds.
    pub age_ms: u64,
    /// Proxies that say so.
    pub proxies: usize,
}

/// A quantile of durations, as near as the buckets let it be known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Latency {
    /// In milliseconds.
    pub ms: f64,
    /// Whether it is more than that, by an unknown amount.
    pub beyond: bool,
}

/// Figures in the making.
#[derive(Debug, Default)]
struct Sum {
    rate: f64,
    requests: u64,
    failures: u64,
    connections: u64,
    open: u64,
    /// Requests by the upper bound of their duration's bucket, in microseconds, those that took longer than all of them under
    /// [`BOUNDLESS`]. Proxies of another version may have other bounds.
    durations: BTreeMap<u64, u64>,
    bounds: BTreeSet<u64>,
    window_ms: u64,
    age_ms: u64,
    proxies: usize,
}

#[derive(Debug, Default)]
struct Heard {
    ports: BTreeSet<String>,
    sum: Option<Sum>,
    age_ms: Option<u64>,
}

/// All services and edges.
pub(super) fn mesh(
    proxies: &[Proxy],
    resources: &[Value],
    left_out: &mut LeftOut,
) -> (Vec<Service>, Vec<Edge>) {
    let mut edges = BTreeMap::<(String, String), Heard>::new();
    let mut services = declared(resources);
    for proxy in proxies {
        let report = &proxy.report;
        let service = place(&mut services, &report.service);
        service.proxies += usize::from(!proxy.silent);
        service.silent += usize::from(proxy.silent);
        service.well += usize::from(is_well(proxy));
        hear(proxy, &mut edges);
        left_out.traffic =
            left_out.traffic.saturating_add(report.traffic.as_ref().map_or(0, |it| it.left_out));
    }
    let mut served = BTreeMap::<&str, Sum>::new();
    for proxy in proxies.iter().filter(|proxy| !proxy.silent) {
        if let Some(traffic) = &proxy.report.traffic {
            let own: Vec<_> =
                traffic.clusters.iter().filter(|cluster| cluster.direction == INBOUND).collect();
            if !own.is_empty() {
                served.entry(&proxy.report.service).or_default().add(traffic, &own, proxy.age_ms);
            }
        }
    }
    for (name, sum) in served {
        place(&mut services, name).served = Some(sum.figures());
    }
    for end in edges.keys().flat_map(|(from, to)| [from, to]) {
        place(&mut services, end);
    }
    let called: BTreeSet<String> = edges.keys().flat_map(|(from, to)| [from.clone(), to.clone()]).collect();
    let mut services: Vec<Service> = services.into_values().collect();
    let quiet = |one: &Service| one.proxies + one.silent == 0 && !called.contains(&one.service);
    services.sort_by_key(|one| (quiet(one), one.service.clone()));
    left_out.services = bounded(&mut services, SERVICES_MAX);
    let mut edges: Vec<Edge> = edges.into_iter().map(Edge::of).collect();
    edges.sort_by(|one, other| {
        let busy = |edge: &Edge| Reverse(edge.figures.as_ref().map(|figures| figures.requests));
        (busy(one), &one.from, &one.to).cmp(&(busy(other), &other.from, &other.to))
    });
    left_out.edges = bounded(&mut edges, EDGES_MAX);
    (services, edges)
}

/// What the newest revision knows.
fn declared(resources: &[Value]) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    for kind in ["Service", "Gateway"] {
        for resource in of_kind(resources, kind) {
            let text = |pointer| resource.pointer(pointer).and_then(Value::as_str);
            if let Some(name) = text("/metadata/name") {
                let namespace = text("/metadata/namespace").unwrap_or(DEFAULT_NAMESPACE);
                place(&mut services, &format!("{namespace}/{name}")).kind = kind.to_owned();
            }
        }
    }
    services
}

fn place<'a>(services: &'a mut BTreeMap<String, Service>, name: &str) -> &'a mut Service {
    let fresh = || Service { service: name.to_owned(), ..Service::default() };
    services.entry(name.to_owned()).or_insert_with(fresh)
}

fn is_well(proxy: &Proxy) -> bool {
    let report = &proxy.report;
    let complains = report.last_refusal.is_some() || !report.quarantined.is_empty();
    proxy.current && !proxy.silent && !complains
}

/// Whom the service beside `proxy` calls.
fn hear(proxy: &Proxy, edges: &mut BTreeMap<(String, String), Heard>) {
    let report = &proxy.report;
    let traffic = report.traffic.as_ref().filter(|_| !proxy.silent);
    let mut named = BTreeMap::<String, BTreeSet<String>>::new();
    let mut name = |cluster: &str| {
        let (service, port) = parts(cluster);
        named.entry(service.to_owned()).or_default().extend(port.map(str::to_owned));
    };
    report.calls.iter().for_each(|called| name(&called.to_string()));
    let told = report.traffic.iter().flat_map(|traffic| &traffic.clusters);
    told.filter(|cluster| cluster.direction == OUTBOUND).for_each(|cluster| name(&cluster.cluster));
    for (to, ports) in named {
        let edge = edges.entry((report.service.clone(), to.clone())).or_default();
        edge.ports.extend(ports);
        edge.age_ms = Some(edge.age_ms.map_or(proxy.age_ms, |age_ms| age_ms.min(proxy.age_ms)));
        let Some(traffic) = traffic else { continue };
        let at_it =
            |cluster: &&ClusterTraffic| cluster.direction == OUTBOUND && parts(&cluster.cluster).0 == to;
        let clusters: Vec<_> = traffic.clusters.iter().filter(at_it).collect();
        // Those that there was no room for may have had requests.
        if !clusters.is_empty() || traffic.left_out == 0 {
            edge.sum.get_or_insert_default().add(traffic, &clusters, proxy.age_ms);
        }
    }
}

/// Service and port of `namespace/name:port`. Traffic is also reported of what is no service.
fn parts(cluster: &str) -> (&str, Option<&str>) {
    match cluster.rsplit_once(':') {
        Some((service, port)) if port.parse::<u16>().is_ok() => (service, Some(port)),
        _ => (cluster, None),
    }
}

impl Edge {
    fn of(((from, to), heard): ((String, String), Heard)) -> Self {
        Self {
            from,
            to,
            ports: heard.ports,
            figures: heard.sum.map(Sum::figures),
            heard_age_ms: heard.age_ms.unwrap_or_default(),
        }
    }
}

impl Sum {
    /// Adds what one proxy says, `age_ms` ago, of these of its clusters.
    fn add(&mut self, traffic: &Traffic, clusters: &[&ClusterTraffic], age_ms: u64) {
        self.proxies += 1;
        self.window_ms = self.window_ms.max(traffic.window_ms);
        self.age_ms = self.age_ms.max(age_ms);
        for cluster in clusters {
            self.requests = self.requests.saturating_add(cluster.requests);
            self.failures = self.failures.saturating_add(cluster.failures);
            self.connections = self.connections.saturating_add(cluster.connections);
            self.open = self.open.saturating_add(cluster.open);
            if traffic.window_ms > 0 {
                self.rate += cluster.requests as f64 * 1e3 / traffic.window_ms as f64;
            }
            let bounds = traffic.bounds_us.iter().copied().chain(std::iter::once(BOUNDLESS));
            for (bound, &count) in bounds.zip(&cluster.durations).filter(|(_, count)| **count > 0) {
                let bucket = self.durations.entry(bound).or_default();
                *bucket = bucket.saturating_add(count);
            }
            self.bounds.extend(&traffic.bounds_us);
        }
    }

    fn figures(self) -> Figures {
        let failures = self.failures.min(self.requests);
        let success = (self.requests > 0).then(|| 1.0 - failures as f64 / self.requests as f64);
        Figures {
            rate: self.rate,
            requests: self.requests,
            failures,
            success,
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
            connections: self.connections,
            open: self.open,
            window_ms: self.window_ms,
            age_ms: self.age_ms,
            proxies: self.proxies,
        }
    }

    /// Between the bounds of the bucket that it lies in, as if durations were spread evenly there.
    fn quantile(&self, share: f64) -> Option<Latency> {
        let all: f64 = self.durations.values().map(|&count| count as f64).sum();
        let mut before = 0.0;
        for (&bound, &count) in &self.durations {
            let within = before + count as f64;
            if within >= share * all {
                let lower = self.bounds.range(..bound).next_back().copied().unwrap_or(0);
                if bound == BOUNDLESS {
                    return Some(Latency { ms: lower as f64 / 1e3, beyond: true });
                }
                let into = (share * all - before) / count as f64;
                let us = lower as f64 + (bound - lower) as f64 * into;
                return Some(Latency { ms: us / 1e3, beyond: false });
            }
            before = within;
        }
        None
    }
}
