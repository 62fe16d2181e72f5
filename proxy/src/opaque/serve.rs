//! A connection that is carried without being looked into: port → rule → cluster → endpoint, and then bytes.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_snapshot::name::ClusterName;

use super::hello::hello;
use super::open::open;
use super::{Carry, ENDS, End, Refusal};
use crate::clock;
use crate::error::ProxyError;
use crate::passage::Accepted;
use crate::telemetry::connections::{ConnectionShard, ConnectionStats};
use crate::telemetry::metrics::Direction;
use crate::worker::Worker;

/// What connections of a listener are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The port of a service that they go to.
    pub port: ClusterName,
}

/// Carries a connection until it is over, or refuses it.
pub async fn serve<D: End>(worker: Rc<Worker>, forward: Arc<Forward>, mut stream: D, peer: Option<IpAddr>) {
    let direction = Direction::Outbound;
    let _accepted = Accepted::new(&worker.stats, direction);
    let started_ns = clock::now_ns();
    let mut stats = None;
    let opened = async {
        let port = worker
            .with_plan(|plan| plan.connections.get(&forward.port).cloned())
            .ok_or(ProxyError::NoPlan)?
            .ok_or_else(|| Refusal::NoPort(forward.port.clone()))?;
        let (host, ahead) = if port.by_host() {
            let (hello, ahead) = hello(&worker, &mut stream).await?;
            (hello.server_name, ahead)
        } else {
            (None, Bytes::new())
        };
        let rule = port.find(host.as_deref()).cloned();
        let rule = rule.ok_or_else(|| Refusal::NoRule { port: forward.port.clone(), host })?;
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
            tracing::debug!(port = %forward.port, "refused a connection: {}", crate::source::chain(&refusal));
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
