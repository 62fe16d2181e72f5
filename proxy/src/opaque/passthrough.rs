//! Intercepted connections that are not the mesh's business: carried to where they were going, as if nobody had looked.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::serve::{Crossing, Opened};
use super::{End, Refusal};
use crate::clock;
use crate::error::{ProxyError, Timeout};
use crate::http::server::Downstream;
use crate::telemetry::metrics::Direction;
use crate::transport::Socket;
use crate::worker::Worker;

/// For opening a connection: nothing says how far it is.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection on which nothing moves ends after this, as one of the mesh does where nothing else is said.
const IDLE_MS: u64 = 3_600_000;

/// The connections that are under way to where they were going, by the addresses that they come from and go to: one that arrives here again was
/// not left alone by the rules of the kernel, and would go round for good. The first alone is not enough: two connections may come from one
/// address, as long as they go to different ones. As many as there are downstream connections.
#[derive(Debug, Default)]
pub struct Passing(Mutex<HashSet<Ways>>);

/// From where, and to where.
type Ways = (SocketAddr, SocketAddr);

/// One of them.
#[derive(Debug)]
struct Pass {
    passing: Arc<Passing>,
    ways: Ways,
}

impl Passing {
    fn enter(self: &Arc<Self>, ways: Ways) -> Pass {
        self.lock().insert(ways);
        Pass { passing: self.clone(), ways }
    }

    fn has(&self, ways: Ways) -> bool {
        self.lock().contains(&ways)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Ways>> {
        // Nothing that could panic is done with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.passing.lock().remove(&self.ways);
    }
}

/// Carries a connection to where it was going until it is over, or refuses it.
pub async fn pass(downstream: Rc<Downstream>, stream: Socket, dialled: SocketAddr, passing: &Arc<Passing>) {
    let (worker, direction) = (&downstream.worker, downstream.direction);
    let mut crossing = Crossing::new(worker, direction);
    let opened = async {
        let stats = worker
            .with_plan(|plan| plan.interception.as_ref().map(|known| known.passthrough(direction).clone()));
        let stats = stats.flatten().ok_or(ProxyError::NoPlan)?;
        crossing.stats = Some(stats.clone());
        let upstream = dial(worker, dialled, direction).await?;
        let from =
            upstream.local_addr().map_err(|error| ProxyError::ConnectFailed { address: dialled, error })?;
        let upstream = Socket::from(upstream);
        let pass = passing.enter((from, dialled));
        // Not before: the other end of what has just been opened may be looked at first.
        if passing.has((downstream.between.source, dialled)) {
            // An end would be passed on, and go round by itself.
            upstream.abort();
            return Err(Refusal::Loop(dialled));
        }
        let idle_ns = clock::limit_ns(IDLE_MS);
        let opened = Opened { upstream: upstream.into(), held: None, stats, ahead: Bytes::new(), idle_ns };
        Ok((opened, pass))
    };
    match opened.await {
        Ok((opened, _pass)) => crossing.carry(stream.into(), opened).await,
        Err(refusal) => {
            crossing.refuse(&refusal);
            tell(&downstream, stream, &refusal);
        }
    }
}

/// Refuses a connection before anything is opened for it.
pub fn turn_away(downstream: &Downstream, stream: Socket, refusal: &Refusal) {
    Crossing::new(&downstream.worker, downstream.direction).refuse(refusal);
    tell(downstream, stream, refusal);
}

fn tell(downstream: &Downstream, stream: Socket, refusal: &Refusal) {
    tracing::debug!(
        peer = %downstream.between.source,
        direction = downstream.direction.as_str(),
        "refused an intercepted connection: {}",
        crate::source::chain(refusal)
    );
    stream.abort();
}

/// What goes to the workload comes from loopback: the rules of the kernel leave that alone.
async fn dial(worker: &Worker, to: SocketAddr, direction: Direction) -> Result<TcpStream, ProxyError> {
    let connect = async {
        let (socket, loopback) = match to {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        socket.set_nodelay(true)?;
        if direction == Direction::Inbound {
            socket.bind(SocketAddr::new(loopback, 0))?;
        }
        socket.connect(to).await
    };
    let connected = match timeout(CONNECT, connect).await {
        Ok(connected) => connected.map_err(|error| ProxyError::ConnectFailed { address: to, error }),
        Err(_) => Err(ProxyError::Timeout(Timeout::Connect)),
    };
    let stats = &worker.stats;
    let count = if connected.is_ok() { &stats.upstream_opened } else { &stats.upstream_connect_failed };
    count.add(1);
    connected
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The system gives one address to connections that go to different ones.
    #[test]
    fn a_connection_is_known_by_both_of_its_ends() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (from, one, other) = (address("10.0.0.1:40000"), address("10.0.0.2:80"), address("10.0.0.3:80"));
        let passing = Arc::<Passing>::default();
        let first = passing.enter((from, one));
        assert!(passing.has((from, one)) && !passing.has((from, other)));
        drop(passing.enter((from, other)));
        assert!(passing.has((from, one)), "the end of one is not the end of the other");
        drop(first);
        assert!(!passing.has((from, one)));
    }
}
