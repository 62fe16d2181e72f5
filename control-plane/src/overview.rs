//! The mesh at a glance: what is published, who runs it, who calls whom and how that goes, what ends soon and what has failed. Pure: the
//! page at `/` shows it, and the store is not asked for it.
//!
//! Every list has a bound, what is worst or busiest comes first, and [`LeftOut`] counts the rest.

mod routes;
mod traffic;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use outrigger_certs::inspect::Facts;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::wire::{ReleaseSummary, RevisionSummary, Status};
use crate::certificates::{Entry, entries, roots};
use crate::reports::{Coverage, FailureStory, Proxy, Running};

pub use routes::{ROUTES_MAX, Route, Rule, Share};
pub use traffic::{EDGES_MAX, Edge, Figures, Latency, SERVICES_MAX, Service};

/// Most proxies in one overview.
pub const PROXIES_MAX: usize = 500;
/// Most releases.
pub const RELEASES_MAX: usize = 50;
/// Most certificates.
pub const CERTIFICATES_MAX: usize = 200;
/// Most failures.
pub const FAILURES_MAX: usize = 100;

/// The mesh at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Overview {
    /// The version of the control plane that answers.
    pub version: String,
    /// When it answered, in milliseconds since 1970.
    pub now_unix_ms: u64,
    /// The store.
    pub store: String,
    /// The mesh's id; absent while there is none.
    pub mesh: Option<String>,
    /// Whether the newest revision is published and the loop succeeds.
    pub ready: bool,
    /// What is in the way, a sentence.
    pub trouble: Option<String>,
    /// How long ago the store last took the heartbeat, in milliseconds: what is told of the store is as old.
    pub heartbeat_age_ms: Option<u64>,
    /// The newest revision.
    pub revision: Option<RevisionSummary>,
    /// The newest release.
    pub release: Option<ReleaseSummary>,
    /// Proxies, in sum.
    pub coverage: Coverage,
    /// Services, those that have a proxy or are called first.
    pub services: Vec<Service>,
    /// Who calls whom, the busiest first.
    pub edges: Vec<Edge>,
    /// Routes of the newest revision, by namespace and name.
    pub routes: Vec<Route>,
    /// Releases that proxies run, the newest first.
    pub releases: Vec<Runs>,
    /// Proxies, the worst first.
    pub proxies: Vec<ProxyRow>,
    /// Certificates, what ends first on top.
    pub certificates: Vec<Entry>,
    /// Why no certificates can be made here, a sentence.
    pub authority_trouble: Option<String>,
    /// Requests that proxies refused or gave up on, the newest first.
    pub failures: Vec<Told>,
    /// What there was no room for.
    pub left_out: LeftOut,
}

/// A release that proxies run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Runs {
    /// Its epoch.
    pub epoch: u64,
    /// Its number.
    pub n: u64,
    /// Proxies that run it and aren't silent.
    pub proxies: usize,
    /// Whether there is no newer one.
    pub newest: bool,
}

/// One proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProxyRow {
    /// The service that it stands beside.
    pub service: String,
    /// Its `--node`.
    pub node: String,
    /// The version of the program.
    pub version: String,
    /// What it runs.
    pub running: Option<Running>,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// How old its report is, in milliseconds.
    pub age_ms: u64,
    /// How it stands.
    pub state: State,
    /// Snapshots that it has refused since it started.
    pub refusals: u64,
    /// Why the last one, if what it runs is older than that.
    pub last_refusal: Option<String>,
    /// Digests that it will not run again.
    pub quarantined: Vec<String>,
    /// Why it gets no certificate.
    pub identity_trouble: Option<String>,
}

/// How a proxy stands, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has died of a digest, and runs an older one.
    Quarantine,
    /// It refused something newer than what it runs.
    Refusing,
    /// It has no plan.
    WithoutPlan,
    /// It hasn't reported in the last minute.
    Silent,
    /// It runs an older release.
    Behind,
    /// It runs the newest release.
    Current,
}

/// A failure, and who tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Told {
    /// The service beside which the proxy stands.
    pub at_service: String,
    /// The proxy's `--node`.
    pub node: String,
    /// How old its report is, in milliseconds.
    pub age_ms: u64,
    /// What it tells.
    pub failure: FailureStory,
}

/// How many there are beside those that are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeftOut {
    /// Services.
    pub services: usize,
    /// Edges.
    pub edges: usize,
    /// Clusters with traffic that proxies had no room for in their reports.
    pub traffic: u64,
    /// Routes.
    pub routes: usize,
    /// Releases.
    pub releases: usize,
    /// Proxies.
    pub proxies: usize,
    /// Certificates.
    pub certificates: usize,
    /// Failures.
    pub failures: usize,
}

impl Overview {
    /// Of a mesh that stands so, with these resources in its newest revision, seen at `now_unix_ms`.
    pub fn of(status: Status, resources: &[Value], now_unix_ms: u64) -> Self {
        let newest = status.release.as_ref().map(|release| (release.epoch, release.release));
        let mut left_out = LeftOut::default();
        let (services, edges) = traffic::mesh(&status.proxies, resources, &mut left_out);
        let now = i64::try_from(now_unix_ms / 1_000).unwrap_or(i64::MAX);
        let authority = status.authority.as_ref();
        let mut certificates = entries(&status.proxies, authority, &believed(resources), now);
        left_out.certificates = bounded(&mut certificates, CERTIFICATES_MAX);
        let routes = routes::all(resources, &mut left_out);
        let mut releases = running(&status.proxies, newest);
        left_out.releases = bounded(&mut releases, RELEASES_MAX);
        let mut failures = told(&status.proxies);
        left_out.failures = bounded(&mut failures, FAILURES_MAX);
        let mut proxies: Vec<ProxyRow> = status.proxies.into_iter().map(ProxyRow::of).collect();
        proxies.sort_by(|one, other| {
            (one.state, &one.service, &one.node).cmp(&(other.state, &other.service, &other.node))
        });
        left_out.proxies = bounded(&mut proxies, PROXIES_MAX);
        Self {
            version: status.version,
            now_unix_ms,
            store: status.store,
            mesh: status.mesh,
            ready: status.ready,
            trouble: status.trouble,
            heartbeat_age_ms: status.heartbeat_age_ms,
            revision: status.revision,
            release: status.release,
            coverage: status.coverage,
            services,
            edges,
            routes,
            releases,
            proxies,
            certificates,
            authority_trouble: status.authority.and_then(|authority| authority.trouble),
            failures,
            left_out,
        }
    }
}

impl ProxyRow {
    fn of(proxy: Proxy) -> Self {
        let state = State::of(&proxy);
        let report = proxy.report;
        Self {
            service: report.service,
            node: report.node,
            version: report.version,
            running: report.running,
            since_unix_ms: report.since_unix_ms,
            age_ms: proxy.age_ms,
            state,
            refusals: report.refusals,
            last_refusal: report.last_refusal,
            quarantined: report.quarantined,
            identity_trouble: report.identity.and_then(|identity| identity.trouble),
        }
    }
}

impl State {
    fn of(proxy: &Proxy) -> Self {
        match proxy {
            Proxy { silent: true, .. } => Self::Silent,
            Proxy { report, .. } if !report.quarantined.is_empty() => Self::Quarantine,
            Proxy { report, .. } if report.last_refusal.is_some() => Self::Refusing,
            Proxy { report, .. } if report.running.is_none() => Self::WithoutPlan,
            Proxy { current: true, .. } => Self::Current,
            _ => Self::Behind,
        }
    }
}

fn believed(resources: &[Value]) -> Vec<Facts> {
    roots(of_kind(resources, "Mesh"))
}

/// Those of `resources` that are of this kind.
fn of_kind<'a>(resources: &'a [Value], kind: &'static str) -> impl Iterator<Item = &'a Value> {
    resources.iter().filter(move |resource| resource["kind"] == kind)
}

fn running(proxies: &[Proxy], newest: Option<(u64, u64)>) -> Vec<Runs> {
    let mut counts = BTreeMap::<Reverse<(u64, u64)>, usize>::new();
    for proxy in proxies.iter().filter(|proxy| !proxy.silent) {
        if let Some(running) = &proxy.report.running {
            *counts.entry(Reverse((running.epoch, running.n))).or_default() += 1;
        }
    }
    let runs = counts.into_iter().map(|(Reverse((epoch, n)), proxies)| {
        let newest = Some((epoch, n)) >= newest;
        Runs { epoch, n, proxies, newest }
    });
    runs.collect()
}

fn told(proxies: &[Proxy]) -> Vec<Told> {
    let of = |proxy: &Proxy| {
        let (at_service, node) = (proxy.report.service.clone(), proxy.report.node.clone());
        let age_ms = proxy.age_ms;
        let stories = proxy.report.failures.clone().into_iter();
        stories.map(move |failure| Told {
            at_service: at_service.clone(),
            node: node.clone(),
            age_ms,
            failure,
        })
    };
    let mut all: Vec<Told> = proxies.iter().flat_map(of).collect();
    all.sort_by_key(|told| Reverse(told.failure.at_unix_ms));
    all
}

/// Keeps the first `most`, and says how many were more.
fn bounded<T>(list: &mut Vec<T>, most: usize) -> usize {
    let more = list.len().saturating_sub(most);
    list.truncate(most);
    more
}

#[cfg(test)]
mod tests;
