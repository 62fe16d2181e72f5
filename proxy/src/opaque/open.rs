//! An upstream connection of its own for each downstream one: cluster → endpoint → connection, and another endpoint where none came about.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::mesh::Spoken;
use outrigger_snapshot::policy::HashKey;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::Refusal;
use super::answer::{self, Answer};
use crate::clock;
use crate::cluster::endpoint::{Endpoint, Outcome};
use crate::cluster::hash_ring::stable_hash;
use crate::cluster::{Cluster, ClusterLoad};
use crate::connect::{TlsFailure, dial};
use crate::error::{Limit, ProxyError, Timeout};
use crate::forward::{Tries, permit, pick};
use crate::passage::{Admission, Attempt};
use crate::plan::connection::ConnectionDestination;
use crate::proxy_protocol::{Between, Header, Version, write};
use crate::retry::pushback::Pushback;
use crate::retry::{Ended, Verdict};
use crate::story::Milestones;
use crate::transport::Transport;
use crate::worker::Worker;

/// What a connection occupies for as long as it lives.
#[derive(Debug)]
pub(super) struct Held {
    attempt: Attempt,
    _admission: Admission,
    _place: Place,
}

impl Held {
    /// The endpoint broke it.
    pub(super) fn fail(&mut self) {
        self.attempt.answered(Outcome::Failure, clock::now_ns());
    }
}

/// A connection to an endpoint of the destination. To connect is all that is tried again: nothing was sent.
pub(super) async fn open(
    worker: &Rc<Worker>,
    destination: &ConnectionDestination,
    between: &Between,
    downstream: &Transport,
) -> Result<(Transport, Held), Refusal> {
    let ConnectionDestination { cluster, retry, stats, .. } = destination;
    let admission =
        Admission::enter(&cluster.load, cluster.limits.requests).ok_or(ProxyError::Limit(Limit::Requests))?;
    let place = Place::enter(worker, cluster)?;
    let key = key(cluster, between.source.ip());
    let header = cluster.proxy_header.map(|version| header(version, between, downstream));
    if retry.attempts > 0 {
        cluster.load.retries.deposit(&cluster.budget, clock::now_ns());
    }
    let (mut tries, shard) = (Tries::default(), stats.shard(worker.index));
    loop {
        let started_ns = clock::now_ns();
        let permit = permit(worker, cluster, started_ns)?;
        let (endpoint, known) = pick(worker, cluster, key, &mut tries, &shard.picks, started_ns)?;
        let attempt = Attempt::start(endpoint, permit, started_ns, u64::MAX);
        let error = match reach(worker, cluster, attempt.endpoint(), header.as_deref(), started_ns).await {
            Ok(stream) => {
                attempt.answered(Outcome::Success, clock::now_ns());
                return Ok((stream, Held { attempt, _admission: admission, _place: place }));
            }
            Err(error) => error,
        };
        let now_ns = clock::now_ns();
        attempt.answered(outcome(&error), now_ns);
        drop(attempt);
        if matches!(error, Refusal::Turned(Answer::Denied)) {
            return Err(error);
        }
        let ended = if known { Ended::Unreachable } else { Ended::Unsent };
        let Verdict::Again { counted, wait_ns, .. } =
            retry.judge(ended, true, tries.repeated(), Pushback::Unsaid, worker.random())
        else {
            return Err(error);
        };
        if counted && !cluster.load.retries.withdraw(&cluster.budget, now_ns) {
            return Err(error);
        }
        tries.counted += u8::from(counted);
        tries.uncounted += u8::from(!counted);
        shard.retries.add(1);
        if wait_ns > 0 {
            tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
        }
    }
}

/// Opens a connection to an endpoint, and hears whether it is carried there; within the cluster's time to connect.
async fn reach(
    worker: &Worker,
    cluster: &Cluster,
    endpoint: &Endpoint,
    header: Option<&[u8]>,
    started_ns: u64,
) -> Result<Transport, Refusal> {
    let mut stream =
        dial(endpoint, &worker.identity, cluster, Spoken::Opaque, &worker.stats, &Milestones::default())
            .await?;
    let limit = Duration::from_millis(cluster.timeouts.connect_ms);
    let left = limit.saturating_sub(Duration::from_nanos(clock::now_ns().saturating_sub(started_ns)));
    let late = || ProxyError::Timeout(Timeout::Connect);
    let heard = async {
        match answer::read(&mut stream, &endpoint.key().tls).await {
            Ok(Answer::Carried) => {}
            Ok(turned) => return Err(Refusal::Turned(turned)),
            // The called side looks at our certificate when its own side of the handshake is over for us.
            Err(error) => return Err(ProxyError::Tls { failure: TlsFailure::of(&error) }.into()),
        }
        if let Some(header) = header {
            let failed = |error| ProxyError::ConnectFailed { address: endpoint.address(), error };
            stream.write_all(header).await.map_err(failed)?;
            stream.flush().await.map_err(failed)?;
        }
        Ok(stream)
    };
    timeout(left, heard).await.unwrap_or_else(|_| Err(late().into()))
}

/// What the application is told of a connection. Where it was accepted is asked for only here.
fn header(version: Version, between: &Between, downstream: &Transport) -> Vec<u8> {
    let destination = between.destination.or_else(|| downstream.local_address());
    let header = destination
        .map_or(Header::Unknown, |destination| Header::Proxied { source: between.source, destination });
    let mut bytes = Vec::new();
    write(version, &header, &mut bytes);
    bytes
}

/// What it says of the endpoint that it did not carry a connection.
fn outcome(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Turned(Answer::Denied) => Outcome::Success,
        Refusal::Turned(Answer::Busy) => Outcome::Overloaded,
        _ => Outcome::Unreachable,
    }
}

/// What consistent hashing and shuffle sharding go by: a connection has nothing but its source.
fn key(cluster: &Cluster, peer: IpAddr) -> Option<u64> {
    let by_source = matches!(cluster.balance.key(), Some(HashKey::Source));
    by_source.then(|| stable_hash(peer.to_string().as_bytes()))
}

/// One of the connections that a cluster may have.
#[derive(Debug)]
struct Place {
    load: Arc<ClusterLoad>,
    worker: Rc<Worker>,
}

impl Place {
    fn enter(worker: &Rc<Worker>, cluster: &Cluster) -> Result<Self, Refusal> {
        if !cluster.load.connections.enter(cluster.limits.connections) {
            return Err(Refusal::LimitConnections(cluster.name.clone()));
        }
        worker.stats.upstream_connections.add(1);
        Ok(Self { load: cluster.load.clone(), worker: worker.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.connections.leave();
        self.worker.stats.upstream_connections.subtract(1);
    }
}
