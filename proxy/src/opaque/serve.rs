//! A connection that is carried without being looked into: port → rule → cluster → endpoint, and then bytes.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::name::ClusterName;

use super::hello::hello;
use super::open::open;
use super::{Carry, ENDS, End, Refusal};
use crate::clock;
use crate::error::ProxyError;
use crate::gateway::GatewayPort;
use crate::passage::Accepted;
use crate::plan::Plan;
use crate::plan::connection::ConnectionRule;
use crate::telemetry::connections::{ConnectionShard, ConnectionStats};
use crate::telemetry::metrics::Direction;
use crate::worker::Worker;

/// What connections are routed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forward {
    /// The rules of a port of a service.
    Port(ClusterName),
    /// The rules of a port of this gateway.
    Listener(u16),
}

impl fmt::Display for Forward {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(formatter),
            Self::Listener(port) => write!(formatter, "port {port} of the gateway"),
        }
    }
}

/// The rules of a plan, held for as long as one connection is routed.
enum Rules {
    Port(Arc<Connections<Arc<ConnectionRule>>>),
    Listener(Arc<GatewayPort>),
}

impl Rules {
    fn of(plan: &Plan, forward: &Forward) -> Option<Self> {
        match forward {
            Forward::Port(port) => plan.connections.get(port).cloned().map(Self::Port),
            Forward::Listener(port) => plan.gateway.get(port).cloned().map(Self::Listener),
        }
    }

    fn by_host(&self) -> bool {
        match self {
            Self::Port(rules) => rules.by_host(),
            Self::Listener(port) => matches!(**port, GatewayPort::Opaque { by_host: true, .. }),
        }
    }

    fn find(&self, host: Option<&str>) -> Option<&Arc<ConnectionRule>> {
        match self {
            Self::Port(rules) => rules.find(host),
            Self::Listener(port) => port.connection(host),
        }
    }
}

/// Carries a connection until it is over, or refuses it.
pub async fn serve<D: End>(worker: Rc<Worker>, forward: Arc<Forward>, mut stream: D, peer: Option<IpAddr>) {
    let direction = Direction::Outbound;
    let _accepted = Accepted::new(&worker.stats, direction);
    let started_ns = clock::now_ns();
    let mut stats = None;
    let opened = async {
        let port = worker
            .with_plan(|plan| Rules::of(plan, &forward))
            .ok_or(ProxyError::NoPlan)?
            .ok_or_else(|| Refusal::NoPort(forward.to_string()))?;
        let (host, ahead) = if port.by_host() {
            let (hello, ahead) = hello(&worker, &mut stream).await?;
            (hello.server_name, ahead)
        } else {
            (None, Bytes::new())
        };
        let rule = port.find(host.as_deref()).cloned();
        let rule = rule.ok_or_else(|| Refusal::NoRule { port: forward.to_string(), host })?;
        stats = Some(rule.undirected.clone());
        let destination = rule.draw(worker.random()).ok_or(ProxyError::NoBackend)?;
        stats = Some(destination.stats.clone());
        let (upstream, held) = open(&worker, destination, peer).await?;
        let idle_ns = clock::limit_ns(destination.cluster.timeouts.tunnel_idle_ms);
        // From here on nothing of the plan is held.
        Ok::<_, Refusal>((upstream, held, destination.stats.clone(), ahead, idle_ns))
    };
    match opened.await {
        Ok((upstream, _held, stats, ahead, idle_ns)) => {
            let mut series = Series::new(&worker, stats, started_ns);
            let counted = series.clone_counts();
            let count = move |way, bytes| counted.shard().bytes[way as usize].add(bytes);
            let ahead = (ahead, Bytes::new());
            let ended = Carry::new(&worker.means(), stream, upstream, ahead, idle_ns, count).await;
            series.end = ended.index();
        }
        Err(refusal) => {
            let unrouted = &worker.stats.unrouted_connections[direction as usize];
            let shard = stats.as_ref().map_or(unrouted, |stats| stats.shard(worker.index));
            shard.refused[refusal.index()].add(1);
            tracing::debug!(port = %forward, "refused a connection: {}", crate::source::chain(&refusal));
            // An end would say that all is well and there is nothing.
            stream.abort();
        }
    }
}

/// Where a connection is counted.
#[derive(Debug, Clone)]
struct Counts {
    stats: Arc<ConnectionStats>,
    worker: usize,
}

impl Counts {
    fn shard(&self) -> &ConnectionShard {
        self.stats.shard(self.worker)
    }
}

/// Counts a connection that is carried: open until it is dropped, then by its end. Cut, unless it says otherwise.
#[derive(Debug)]
struct Series {
    counts: Counts,
    started_ns: u64,
    end: usize,
}

impl Series {
    fn new(worker: &Worker, stats: Arc<ConnectionStats>, started_ns: u64) -> Self {
        let counts = Counts { stats, worker: worker.index };
        counts.shard().open.add(1);
        Self { counts, started_ns, end: ENDS.len() - 1 }
    }

    fn clone_counts(&self) -> Counts {
        self.counts.clone()
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.counts.shard().finish(self.end, clock::now_ns().saturating_sub(self.started_ns));
    }
}
