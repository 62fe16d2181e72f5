//! One downstream connection: what it speaks, then serving it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use outrigger_certs::mesh::Spoken;
use tokio::net::TcpStream;
use tower_service::Service;

use self::first::{Found, look};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::gateway::{Edge, Opening};
use crate::http::server::{Downstream, serve_http1, serve_http2};
use crate::identity::Standing;
use crate::opaque::{Refusal, serve_inbound};
use crate::passage::Accepted;
use crate::plan::Plan;
use crate::plan::connection::{Expected, InboundPort};
use crate::proxy_protocol::Between;
use crate::telemetry::metrics::Direction;
use crate::transport::{Socket, Transport};
use crate::worker::Worker;

mod first;
mod intercepted;
mod proxied;
mod tls;

pub use intercepted::{Intercepted, Interceptor};
pub use proxied::announced;

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Arrival {
    /// The worker that has it.
    pub worker: Rc<Worker>,
    /// Which listener it came through.
    pub direction: Direction,
    /// The port of the own service that it came for, where that is known before its first byte.
    pub port: Option<u16>,
    /// What it is to a gateway.
    pub edge: Option<Rc<Edge>>,
    /// Who opened it, and to what.
    pub between: Between,
    /// Counts it.
    pub accepted: Accepted,
}

impl Arrival {
    /// One that `peer` has opened, for no port in particular.
    pub fn new(worker: &Rc<Worker>, direction: Direction, peer: SocketAddr) -> Self {
        let accepted = Accepted::new(&worker.stats, direction);
        Self { worker: worker.clone(), direction, port: None, edge: None, between: peer.into(), accepted }
    }
}

/// Serves a connection until it ends. Nothing is allocated for HTTP before the first byte has come. No `async fn`: the arguments of one stay in
/// its future, and most connections are idle for most of their lives. What a phase needs is let go after it.
pub fn serve<S>(stream: Socket, arrival: Arrival, stack: S) -> impl Future<Output = ()>
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let beginning = Box::pin(begin(stream, arrival));
    async move {
        let serving: Pin<Box<dyn Future<Output = ()>>> = match beginning.await {
            Some((Speech::Http1, stream, downstream)) => Box::pin(serve_http1(stream, downstream, stack)),
            Some((Speech::Http2, stream, downstream)) => Box::pin(serve_http2(stream, downstream, stack)),
            Some((Speech::Opaque(port), stream, downstream)) => {
                Box::pin(serve_inbound(downstream, port, stream))
            }
            None => return,
        };
        serving.await;
    }
}

/// What a connection speaks, inside TLS or not.
enum Speech {
    Http1,
    Http2,
    /// Something that is not looked into.
    Opaque(Result<Arc<InboundPort>, Refusal>),
}

/// Finds out what a connection is, as far as the end of its handshake; `None` if it is over already.
async fn begin(stream: Socket, mut arrival: Arrival) -> Option<(Speech, Transport, Rc<Downstream>)> {
    let mut stream = announced(stream, &mut arrival).await?;
    let downstream = Downstream::new(arrival);
    let (transport, speech) = match look(&mut stream, &downstream).await {
        Ok(Found::Tls) => {
            let (transport, spoken) = match stream {
                Socket::Tcp(stream) => end_tls(stream, &downstream).await?,
                // Nobody is expected to. The first bytes are no HTTP, which the client is told.
                Socket::Unix(_) => (stream.into(), Spoken::Http1),
            };
            let speech = match spoken {
                Spoken::Http1 => Speech::Http1,
                Spoken::Http2 => Speech::Http2,
                Spoken::Opaque => Speech::Opaque(called(&downstream)),
            };
            (transport, speech)
        }
        Ok(Found::Http1) => (stream.into(), Speech::Http1),
        Ok(Found::Http2) => (stream.into(), Speech::Http2),
        Ok(Found::Opaque(port)) => (stream.into(), Speech::Opaque(port)),
        Ok(Found::Over) | Err(_) => return None,
    };
    Some((speech, transport, downstream))
}

/// Ends the TLS of a caller of the mesh, of a client of a gateway, or of one outside the mesh where that is asked for. Where nothing can be proved or shown,
/// the first bytes are no HTTP, which the client is told.
async fn end_tls(stream: TcpStream, downstream: &Rc<Downstream>) -> Option<(Transport, Spoken)> {
    let worker = &downstream.worker;
    let shaken = if let Some(edge) = downstream.edge.get() {
        match edge.opening() {
            Opening::Expected => tls::admit(stream, edge, downstream).await,
            Opening::Plain | Opening::Tls => return Some((stream.into(), Spoken::Http1)),
        }
    } else {
        let ending =
            |plan: &Plan| plan.ending(downstream.port).map(|(port, listener)| (port, listener.clone()));
        let inbound = downstream.direction == Direction::Inbound;
        match (worker.identity.standing(), inbound.then(|| worker.with_plan(ending).flatten()).flatten()) {
            (_, Some((port, listener))) => tls::greet(stream, port, listener, downstream).await,
            (Standing::Proved(mesh), None) if inbound => tls::accept(stream, &mesh, downstream).await,
            _ => return Some((stream.into(), Spoken::Http1)),
        }
    };
    match shaken {
        Ok(inside) => {
            worker.stats.handshakes[Direction::Inbound as usize].done.add(1);
            Some(inside)
        }
        Err(failure) => {
            worker.stats.tls_failed(Direction::Inbound, &failure);
            tracing::debug!(peer = ?downstream.peer, reason = failure.code(), "who calls by TLS is refused: {failure}");
            failure.tell(Direction::Inbound, downstream.between.source.ip());
            None
        }
    }
}

/// The port that a caller of the mesh connects to; where it names none, that of the listener.
fn called(downstream: &Downstream) -> Result<Arc<InboundPort>, Refusal> {
    let named = downstream.caller.get().and_then(|caller| caller.port).or(downstream.port);
    let found = downstream.worker.with_plan(|plan| match (named, plan.expected(named)) {
        (_, Expected::Opaque(port) | Expected::Either(Some(port))) => Ok(port),
        (Some(port), Expected::Http) => Err(Refusal::WrongProtocol(port)),
        (_, Expected::Nothing(port)) => Err(Refusal::NoPort(plan.service.cluster(port).to_string())),
        (_, Expected::Http | Expected::Either(None)) => Err(Refusal::NoInboundPort),
    });
    found.unwrap_or(Err(ProxyError::NoPlan.into()))
}
