//! A connection that is carried without being looked into: port → rule → cluster → endpoint, and then bytes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{Access, Mtls, Subject};
use tokio::time::timeout;

use super::answer::{self, Answer};
use super::hello::hello;
use super::open::{Held, open};
use super::{Carry, ENDS, End, Ended, Refusal};
use crate::caller::Caller;
use crate::clock;
use crate::error::{ProxyError, Side};
use crate::http::server::Downstream;
use crate::passage::Accepted;
use crate::plan::connection::{ConnectionDestination, ConnectionRule, InboundPort};
use crate::proxy_protocol::Between;
use crate::telemetry::connections::{ConnectionShard, ConnectionStats};
use crate::telemetry::metrics::Direction;
use crate::transport::Transport;
use crate::worker::Worker;

/// What connections of a listener are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The port of a service that they go to.
    pub port: ClusterName,
}

/// Carries a connection of the workload until it is over, or refuses it.
pub async fn serve(worker: Rc<Worker>, forward: Arc<Forward>, stream: Transport, peer: SocketAddr) {
    let _accepted = Accepted::new(&worker.stats, Direction::Outbound);
    carry_to(&worker, &forward.port, stream, &peer.into()).await;
}

/// The same for one that was intercepted on its way to that port.
pub async fn serve_port(downstream: &Downstream, port: &ClusterName, stream: Transport) {
    carry_to(&downstream.worker, port, stream, &downstream.between).await;
}

async fn carry_to(worker: &Rc<Worker>, port: &ClusterName, mut stream: Transport, between: &Between) {
    let mut crossing = Crossing::new(worker, Direction::Outbound);
    let opened = async {
        let (rule, ahead) = route(worker, port, &mut stream).await?;
        crossing.open(&rule, between, &stream, ahead).await
    };
    match opened.await {
        Ok(opened) => crossing.carry(stream, opened).await,
        Err(refusal) => {
            crossing.refuse(&refusal);
            tracing::debug!(%port, "refused a connection: {}", crate::source::chain(&refusal));
            // An end would say that all is well and there is nothing.
            stream.abort();
        }
    }
}

/// The rule for a connection to a port, and what had to be read to find it.
async fn route(
    worker: &Worker,
    name: &ClusterName,
    stream: &mut Transport,
) -> Result<(Arc<ConnectionRule>, Bytes), Refusal> {
    let port = worker
        .with_plan(|plan| plan.connections.get(name).cloned())
        .ok_or(ProxyError::NoPlan)?
        .ok_or_else(|| Refusal::NoPort(name.clone()))?;
    let (host, ahead) = if port.by_host() {
        let (hello, ahead) = hello(worker, stream).await?;
        (hello.server_name, ahead)
    } else {
        (None, Bytes::new())
    };
    let rule = port.find(host.as_deref()).cloned();
    let rule = rule.ok_or_else(|| Refusal::NoRule { port: name.clone(), host })?;
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
        admit(&worker, &port, caller.as_deref())?;
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

/// Whether the caller may connect at all.
fn admit(worker: &Worker, port: &InboundPort, caller: Option<&Caller>) -> Result<(), ProxyError> {
    let Some(gate) = &port.gate else { return Ok(()) };
    if caller.is_none() && gate.mtls.is_some() {
        worker.stats.plaintext_connections.add(1);
        if gate.mtls == Some(Mtls::Strict) {
            return Err(ProxyError::IdentityRequired);
        }
    }
    let Some(authorization) = &gate.authorization else { return Ok(()) };
    let subject = Subject::of_connection(caller.map(|caller| &*caller.identity));
    match authorization.decide(&subject) {
        (Access::Allow, _) => Ok(()),
        (Access::Deny, _) if authorization.dry_run => {
            worker.stats.denied_connections_dry.add(1);
            Ok(())
        }
        (Access::Deny, by) => {
            worker.stats.denied_connections.add(1);
            Err(ProxyError::Denied { rule: by.map(|rule| rule.name.clone()) })
        }
    }
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
