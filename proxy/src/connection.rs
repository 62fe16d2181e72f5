//! One downstream connection: what it speaks, then serving it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use outrigger_certs::mesh::Spoken;
use tokio::net::TcpStream;
use tower_service::Service;

use self::first::{Found, look};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::http::server::{Downstream, serve_http1, serve_http2};
use crate::identity::Standing;
use crate::opaque::{End, Refusal, serve_inbound};
use crate::passage::Accepted;
use crate::plan::connection::{Expected, InboundPort};
use crate::telemetry::metrics::Direction;
use crate::worker::Worker;

mod first;
mod intercepted;
mod proxied;
mod tls;

pub use intercepted::{Intercepted, Interceptor};

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Arrival {
    /// The worker that has it.
    pub worker: Rc<Worker>,
    /// Which listener it came through.
    pub direction: Direction,
    /// The port of the own service that it came for, where that is known before its first byte.
    pub port: Option<u16>,
    /// Who opened it.
    pub peer: SocketAddr,
    /// Counts it.
    pub accepted: Accepted,
}

/// Serves a connection until it ends. Nothing is allocated for HTTP before the first byte has come.
pub async fn serve<S>(mut stream: TcpStream, arrival: Arrival, stack: S)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let mut between = arrival.peer.into();
    if arrival.direction == Direction::Inbound && arrival.worker.proxies.covers(arrival.peer.ip()) {
        match Box::pin(proxied::take(&mut stream, &arrival)).await {
            Ok(Some(said)) => between = said,
            Ok(None) => return,
            Err(refusal) => {
                let Arrival { worker, direction, peer, .. } = arrival;
                worker.stats.unrouted_connections[direction as usize].refused[refusal.index()].add(1);
                tracing::debug!(%peer, "refused a connection: {refusal}");
                return stream.abort();
            }
        }
    }
    let downstream = Downstream::new(arrival, between);
    match look(&stream, &downstream).await {
        Ok(Found::Tls) => Box::pin(serve_tls(stream, downstream, stack)).await,
        Ok(Found::Http1) => Box::pin(serve_http1(stream.into(), downstream, stack)).await,
        Ok(Found::Http2) => Box::pin(serve_http2(stream.into(), downstream, stack)).await,
        Ok(Found::Opaque(port)) => Box::pin(serve_inbound(downstream, port, stream.into())).await,
        Ok(Found::Over) | Err(_) => {}
    }
}

/// Serves a caller of the mesh. Where there is no identity, the first bytes are no HTTP, which the client is told.
async fn serve_tls<S>(stream: TcpStream, downstream: Rc<Downstream>, stack: S)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let standing = downstream.worker.identity.standing();
    let (Standing::Proved(mesh), Direction::Inbound) = (standing, downstream.direction) else {
        return serve_http1(stream.into(), downstream, stack).await;
    };
    let handshakes = &downstream.worker.stats.handshakes[Direction::Inbound as usize];
    match tls::accept(stream, &mesh, &downstream).await {
        Ok((transport, spoken)) => {
            handshakes.done.add(1);
            drop(mesh);
            match spoken {
                Spoken::Http2 => serve_http2(transport, downstream, stack).await,
                Spoken::Http1 => serve_http1(transport, downstream, stack).await,
                Spoken::Opaque => {
                    let port = called(&downstream);
                    serve_inbound(downstream, port, transport).await;
                }
            }
        }
        Err(failure) => {
            downstream.worker.stats.tls_failed(Direction::Inbound, &failure);
            tracing::debug!(peer = ?downstream.peer, reason = failure.code(), "a caller is refused: {failure}");
        }
    }
}

/// The port that a caller of the mesh connects to; where it names none, that of the listener.
fn called(downstream: &Downstream) -> Result<Arc<InboundPort>, Refusal> {
    let named = downstream.caller.get().and_then(|caller| caller.port).or(downstream.port);
    let found = downstream.worker.with_plan(|plan| match (named, plan.expected(named)) {
        (_, Expected::Opaque(port) | Expected::Either(Some(port))) => Ok(port),
        (Some(port), Expected::Http) => Err(Refusal::WrongProtocol(port)),
        (_, Expected::Nothing(port)) => Err(Refusal::NoPort(plan.service.cluster(port))),
        (_, Expected::Http | Expected::Either(None)) => Err(Refusal::NoInboundPort),
    });
    found.unwrap_or(Err(ProxyError::NoPlan.into()))
}
