//! A connection that is carried without being looked into: port → rule → cluster → endpoint, and then bytes.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::name::ClusterName;
use tokio::time::timeout;

use super::answer::{self, Answer};
use super::hello::hello;
use super::open::{Held, open};
use super::{Carry, ENDS, End, Ended, Refusal};
use crate::clock;
use crate::connection::Arrival;
use crate::error::{ProxyError, Side};
use crate::gate::Gate;
use crate::gateway::GatewayPort;
use crate::http::server::Downstream;
use crate::plan::Plan;
use crate::plan::connection::{ConnectionDestination, ConnectionRule, InboundPort};
use crate::proxy_protocol::Between;
use crate::telemetry::connections::{ConnectionShard, ConnectionStats};
use crate::telemetry::metrics::Direction;
use crate::transport::Transport;
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
            Self::Listener(port) => port.opaque(host)?.rules.find(host),
        }
    }

    /// Who may open a connection that asks for that host, if that is said.
    fn gate(&self, host: Option<&str>) -> Option<&Gate> {
        match self {
            Self::Port(_) => None,
            Self::Listener(port) => port.opaque(host)?.gate.as_deref(),
        }
    }
}

/// Carries a connection of the workload until it is over, or refuses it.
pub async fn serve(arrival: Arrival, forward: Arc<Forward>, stream: Transport) {
    carry_to(&arrival.worker, &forward, &arrival.between, stream).await;
}

/// The same for one that was intercepted on its way to that port.
pub async fn serve_port(downstream: &Downstream, port: &ClusterName, stream: Transport) {
    let forward = Forward::Port(port.clone());
    carry_to(&downstream.worker, &forward, &downstream.between, stream).await;
}

async fn carry_to(worker: &Rc<Worker>, forward: &Forward, between: &Between, mut stream: Transport) {
    let mut crossing = Crossing::new(worker, Direction::Outbound);
    let opened = async {
        let (rule, ahead) = route(worker, forward, between, &mut stream).await?;
        crossing.open(&rule, between, &stream, ahead).await
    };
    match opened.await {
        Ok(opened) => crossing.carry(stream, opened).await,
        Err(refusal) => {
            crossing.refuse(&refusal);
            tracing::debug!(port = %forward, "refused a connection: {}", crate::source::chain(&refusal));
            // An end would say that all is well and there is nothing.
            stream.abort();
        }
    }
}

/// The rule for a connection to a port, and what had to be read to find it.
async fn route(
    worker: &Worker,
    forward: &Forward,
    between: &Between,
    stream: &mut Transport,
) -> Result<(Arc<ConnectionRule>, Bytes), Refusal> {
    let port = worker
        .with_plan(|plan| Rules::of(plan, forward))
        .ok_or(ProxyError::NoPlan)?
        .ok_or_else(|| Refusal::NoPort(forward.to_string()))?;
    let (host, ahead) = if port.by_host() {
        let (hello, ahead) = hello(worker, stream).await?;
        (hello.server_name, ahead)
    } else {
        (None, Bytes::new())
    };
    if let Some(gate) = port.gate(host.as_deref()) {
        gate.connection(&worker.stats, None, between.source.ip())?;
    }
    let rule = port.find(host.as_deref()).cloned();
    let rule = rule.ok_or_else(|| Refusal::NoRule { port: forward.to_string(), host })?;
    Ok((rule, ahead))
}

/// Carries a connection to the workload until it is over, or refuses it. A caller of the mesh is told which.
pub async fn serve_inbound(
    downstream: Rc<Downstream>,
    port: Result<Arc<InboundPort>, Refusal>,
    mut stream: Transport,
) {
    let worker = downstream.worker.clone();
    let caller = downstream.caller.get().cloned();
    let mut crossing = Crossing::new(&worker, Direction::Inbound);
    let opened = async {
        let port = port?;
        crossing.stats = Some(port.rule.undirected.clone());
        if let Some(gate) = &port.gate {
            gate.connection(&worker.stats, caller.as_deref(), downstream.between.source.ip())?;
        }
        crossing.open(&port.rule, &downstream.between, &stream, Bytes::new()).await
    };
    let mut opened = opened.await;
    if caller.is_some() && !tell(&worker, &mut stream, opened.as_ref().err()).await && opened.is_ok() {
        opened = Err(Refusal::ClientGone);
    }
    match opened {
        Ok(opened) => crossing.carry(stream, opened).await,
        Err(refusal) => {
            crossing.refuse(&refusal);
            let caller = caller.as_ref().map(|caller| caller.identity.as_str());
            tracing::debug!(
                peer = %downstream.between.source,
                caller,
                "refused a connection to the workload: {}",
                crate::source::chain(&refusal)
            );
            if caller.is_none() {
                stream.abort();
            }
        }
    }
}

/// Tells a caller whether it is carried; whether it took that.
async fn tell(worker: &Worker, stream: &mut Transport, refusal: Option<&Refusal>) -> bool {
    let answer = refusal.map_or(Answer::Carried, Answer::to);
    let limit = Duration::from_nanos(worker.limits.head_ns);
    matches!(timeout(limit, answer::write(stream, answer)).await, Ok(Ok(())))
}

/// A connection on its way, as far as it is counted.
pub(super) struct Crossing<'a> {
    worker: &'a Rc<Worker>,
    direction: Direction,
    started_ns: u64,
    /// As far as it has come.
    pub(super) stats: Option<Arc<ConnectionStats>>,
}

/// The other side of it. Nothing of the plan is held.
pub(super) struct Opened {
    pub(super) upstream: Transport,
    /// What it occupies of a cluster, if it is one's.
    pub(super) held: Option<Held>,
    pub(super) stats: Arc<ConnectionStats>,
    /// Read already.
    pub(super) ahead: Bytes,
    pub(super) idle_ns: Option<u64>,
}

impl<'a> Crossing<'a> {
    pub(super) fn new(worker: &'a Rc<Worker>, direction: Direction) -> Self {
        Self { worker, direction, started_ns: clock::now_ns(), stats: None }
    }

    /// Opens a connection to where the rule leads.
    async fn open(
        &mut self,
        rule: &ConnectionRule,
        between: &Between,
        downstream: &Transport,
        ahead: Bytes,
    ) -> Result<Opened, Refusal> {
        self.stats = Some(rule.undirected.clone());
        let destination = rule.draw(self.worker.random()).ok_or(ProxyError::NoBackend)?;
        let ConnectionDestination { stats, cluster, .. } = destination;
        self.stats = Some(stats.clone());
        let (upstream, held) = open(self.worker, destination, between, downstream).await?;
        let idle_ns = clock::limit_ns(cluster.timeouts.tunnel_idle_ms);
        Ok(Opened { upstream, held: Some(held), stats: stats.clone(), ahead, idle_ns })
    }

    pub(super) async fn carry(self, downstream: Transport, opened: Opened) {
        let Opened { upstream, mut held, stats, ahead, idle_ns } = opened;
        let mut series = Series::new(self.worker, stats, self.started_ns);
        let counted = series.counts.clone();
        let count = move |way, bytes| counted.shard().bytes[way as usize].add(bytes);
        let ahead = (ahead, Bytes::new());
        let ended = Carry::new(&self.worker.means(), downstream, upstream, ahead, idle_ns, count).await;
        if let (Ended::Broken(Side::Upstream, _), Some(held)) = (&ended, &mut held) {
            held.fail();
        }
        series.end = ended.index();
    }

    pub(super) fn refuse(&self, refusal: &Refusal) {
        let unrouted = &self.worker.stats.unrouted_connections[self.direction as usize];
        let shard = self.stats.as_ref().map_or(unrouted, |stats| stats.shard(self.worker.index));
        shard.refused[refusal.index()].add(1);
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
}

impl Drop for Series {
    fn drop(&mut self) {
        self.counts.shard().finish(self.end, clock::now_ns().saturating_sub(self.started_ns));
    }
}
