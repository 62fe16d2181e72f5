//! What admin endpoints and scrapes see of the whole process.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use outrigger_snapshot::policy::Balance;
use tokio::sync::Notify;

use crate::access_log::{
    self,
    writer::{Counts, Reopener},
};
use crate::admin::{self, AdminState, CertsView, ClusterView, DnsView, EndpointView, Part, ServerInfo};
use crate::applier::Keepers;
use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::health::describe;
use crate::crew::{ListenerView, Usher};
use crate::failure::Failure;
use crate::failure::view::Clocks;
use crate::health_check;
use crate::identity;
use crate::lineage::Lineages;
use crate::logging::{self, Logging};
use crate::memory::Memory;
use crate::rate_limit_store::StoreStatus;
use crate::registry::Registry;
use crate::report;
use crate::resolve::{Metrics as ResolveMetrics, NameMetrics, Query};
use crate::source::{Status, View};
use crate::tap::{Asked, Crowded, Desk, Watch};
use crate::telemetry::connections::{write_connections, write_unrouted_connections};
use crate::telemetry::export::{write_discovery, write_endpoints, write_workers};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::health::{self, write_checks, write_health};
use crate::telemetry::metrics::WorkerStats;
use crate::telemetry::overload::{write_faults, write_lineages, write_memory, write_overload};
use crate::telemetry::rate_limit::write_limits;
use crate::telemetry::requests::{Instants, write_requests, write_unrouted};
use crate::traces::{self, handing::Handing};
use crate::worker::{CurrentPlan, Phase};

/// Rules and clusters, or clusters, whose metrics are written without a pause: a fraction of a millisecond.
const SERIES_AT_A_TIME: usize = 64;

/// What tells of each request: what became of that.
#[derive(Debug)]
pub struct Tellers {
    /// Traces, if they are told.
    pub traces: Option<Arc<Handing>>,
    /// The access log, if there is one.
    pub access_log: Option<(Arc<Counts>, Reopener)>,
}

impl Tellers {
    /// Has the file of the access log opened anew.
    pub fn reopen(&self) {
        self.access_log.iter().for_each(|(_, reopener)| reopener.reopen());
    }

    fn write(&self, exposition: &mut Exposition) {
        self.traces.iter().for_each(|handing| traces::metrics::write(handing, exposition));
        self.access_log.iter().for_each(|(counts, _)| access_log::metrics::write(counts, exposition));
    }
}

/// Everything that can be looked at, on the control thread.
#[derive(Debug)]
pub struct Overview {
    /// What does not change.
    pub info: ServerInfo,
    /// What is in force.
    pub plan: CurrentPlan,
    /// What the source knows.
    pub status: Arc<Status>,
    /// Who knows the listeners that take connections.
    pub usher: Usher,
    /// Series of requests.
    pub registry: Rc<RefCell<Registry>>,
    /// What workers count.
    pub workers: Vec<Arc<WorkerStats>>,
    /// Where watching them end begins.
    pub desk: Rc<Desk>,
    /// Calls to the workload under way.
    pub lineages: Arc<Lineages>,
    /// How much memory there is.
    pub memory: Arc<Memory>,
    /// What is known of names.
    pub names: Arc<ResolveMetrics>,
    /// What health checks have found.
    pub checks: Rc<health_check::Results>,
    /// How far the process is on its way out.
    pub phase: tokio::sync::watch::Receiver<Phase>,
    /// Someone wants a drain.
    pub drain: Rc<Notify>,
    /// Someone wants the end.
    pub shutdown: Rc<Notify>,
    /// What became of reports, if any are made.
    pub reports: OnceCell<Arc<report::Counts>>,
    /// What this process logs.
    pub logging: Logging,
    /// What tells of each request.
    pub tellers: Tellers,
    /// How it stands with the store of global rate limits, if there is one.
    pub rate_limit_store: Option<StoreStatus>,
    /// Who this proxy is to others, what it shows to strangers, and where they come in.
    pub keepers: Keepers,
}

impl Overview {
    /// What time it is.
    pub fn clocks(&self) -> Clocks {
        Clocks { now_ns: clock::now_ns(), now_unix_ms: self.now_ms() }
    }
}

impl AdminState for Overview {
    fn phase(&self) -> admin::Phase {
        match *self.phase.borrow() {
            Phase::Running => admin::Phase::Serving,
            Phase::Leaving | Phase::DrainingInbound | Phase::Draining | Phase::Stopped => {
                admin::Phase::Draining
            }
        }
    }

    fn source(&self) -> View {
        self.status.view()
    }

    fn trouble(&self) -> Option<String> {
        let ports = || self.keepers.ports.as_ref().and_then(|ports| ports.trouble());
        self.keepers.identity.awaited().or_else(ports)
    }

    fn server_info(&self) -> ServerInfo {
        self.info.clone()
    }

    fn clusters(&self) -> Vec<ClusterView> {
        let Some(plan) = self.plan.load_full() else { return Vec::new() };
        let names = self.names.names();
        let mut clusters: Vec<_> = plan.clusters.iter().collect();
        clusters.sort_by_key(|(name, _)| *name);
        let view = |(name, cluster): (&_, &Arc<Cluster>)| {
            let dns = names.iter().find(|known| known.cluster == *name);
            cluster_view(cluster, dns.map(|name| dns_view(name)), &self.checks)
        };
        clusters.into_iter().map(view).collect()
    }

    fn listeners(&self) -> Vec<ListenerView> {
        let mut views = self.usher.listeners();
        for (name, address) in &self.info.listeners {
            if views.iter().any(|view| view.address == *address) {
                continue;
            }
            // Those that look after the proxy are served from the start; of the others, those not yet shown to the workers refuse.
            let own = matches!(*name, "admin" | "metrics");
            let direction = (!own).then(|| if name.starts_with("inbound") { "inbound" } else { "outbound" });
            let state = if own { "listening" } else { "bound" };
            let address = address.clone();
            views.push(ListenerView { name, address, direction, state, connections: None, accepted: None });
        }
        views
    }

    fn certs(&self) -> CertsView {
        let Keepers { identity, certificates, .. } = &self.keepers;
        identity.certs(certificates.certs())
    }

    fn failures(&self) -> Vec<Arc<Failure>> {
        self.workers.iter().flat_map(|worker| worker.failures.all()).collect()
    }

    fn watch(&self, asked: Asked) -> Result<Watch, Crowded> {
        self.desk.watch(asked)
    }

    fn metrics(&self) -> Vec<Part<'_>> {
        let at = Instants { now_ns: clock::now_ns(), now_ms: self.now_ms() };
        let mut parts: Vec<Part<'_>> = vec![Box::new(move |exposition| self.write_rest(at, exposition))];
        // All of one moment: a plan that comes between two parts changes nothing here.
        let registry = self.registry.borrow();
        for some in registry.all_requests().chunks(SERIES_AT_A_TIME) {
            let some = some.to_vec();
            parts.push(Box::new(move |exposition| write_requests(&some, at, exposition)));
        }
        for some in registry.all_connections().chunks(SERIES_AT_A_TIME) {
            let some = some.to_vec();
            parts.push(Box::new(move |exposition| write_connections(&some, at.now_ns, exposition)));
        }
        if let Some(plan) = self.plan.load_full() {
            for some in health::clusters(&plan).chunks(SERIES_AT_A_TIME) {
                let some = some.to_vec();
                parts.push(Box::new(move |exposition| write_health(&some, exposition)));
            }
            if plan.detail.endpoints {
                parts.push(Box::new(move |exposition| write_endpoints(&plan, exposition)));
            }
        }
        parts
    }

    fn log_filter(&self) -> String {
        self.logging.filter()
    }

    fn set_log_filter(&self, filter: &str) -> Result<(), String> {
        self.logging.set(filter)
    }

    fn drain(&self) {
        self.drain.notify_one();
    }

    fn shutdown(&self) {
        self.shutdown.notify_one();
    }

    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    }
}

impl Overview {
    /// What is not by rule or cluster, or is of few.
    fn write_rest(&self, at: Instants, exposition: &mut Exposition) {
        write_unrouted(&self.workers, at, exposition);
        write_unrouted_connections(&self.workers, exposition);
        write_workers(&self.workers, exposition);
        let identity = self.keepers.identity.shared();
        if identity.wanted() && self.plan.load().as_ref().is_some_and(|plan| plan.detail.callers) {
            identity.callers().write(at.now_ns, exposition);
        }
        identity::write(&self.keepers.identity, exposition);
        self.keepers.certificates.write(exposition);
        if let Some(ports) = &self.keepers.ports {
            ports.write(exposition);
        }
        write_overload(&self.registry.borrow().all_overloads(), exposition);
        let limits = self.registry.borrow().rate_limits.all();
        write_limits(&limits, self.rate_limit_store.as_ref(), clock::now_ns(), exposition);
        write_faults(&self.workers, exposition);
        write_memory(&self.memory, exposition);
        write_lineages(&self.lineages, &self.workers, exposition);
        write_checks(&self.checks, exposition);
        write_discovery(&self.names, exposition);
        self.tellers.write(exposition);
        logging::write(exposition);
        self.desk.write(exposition);
        if let Some(counts) = self.reports.get() {
            counts.write(exposition);
        }
    }
}

fn cluster_view(cluster: &Cluster, dns: Option<DnsView>, checks: &health_check::Results) -> ClusterView {
    let now_ns = clock::now_ns();
    let endpoints = cluster.endpoints.load();
    let subset = endpoints.subset();
    let own = subset.map(|own| own.iter().map(|entry| entry.endpoint.id()).collect::<HashSet<_>>());
    let endpoint = |entry: &crate::cluster::balance::Entry| EndpointView {
        address: entry.endpoint.address().to_string(),
        weight: entry.weight,
        own: own.as_ref().map(|own| own.contains(&entry.endpoint.id())),
        zone: entry.zone.as_deref().map(str::to_owned),
        in_flight: entry.endpoint.in_flight().into(),
        requests: entry.endpoint.requests(),
        failures: entry.endpoint.failures(),
        health: describe(&entry.endpoint, now_ns, checks.reason(entry.endpoint.key())),
        cost_ms: entry.endpoint.cost_ns(now_ns).map(|cost| cost as f64 / 1e6),
    };
    ClusterView {
        name: cluster.name.to_string(),
        protocol: cluster.protocol.name(),
        balance: match &cluster.balance {
            Balance::PeakEwma => "PeakEwma",
            Balance::LeastRequest => "LeastRequest",
            Balance::RoundRobin => "RoundRobin",
            Balance::Random => "Random",
            Balance::ConsistentHash(_) => "ConsistentHash",
            Balance::ShuffleShard(_) => "ShuffleShard",
        }
        .to_owned(),
        in_flight: cluster.load.requests.value().into(),
        breaker: cluster.breaker.state().phase.name(),
        dns,
        caller: subset.and(cluster.subsetting.as_ref()).map(|subsetting| subsetting.caller.to_string()),
        endpoints: endpoints.entries().iter().map(endpoint).collect(),
    }
}

fn dns_view(name: &NameMetrics) -> DnsView {
    let asked = match &name.query {
        Query::Addresses { name, .. } | Query::Srv { name } => name.clone(),
    };
    let stale_ms = name.stale_for().as_millis() as u64;
    DnsView {
        name: asked,
        state: name.freshness().name().to_owned(),
        age_ms: (stale_ms > 0).then_some(stale_ms),
    }
}
