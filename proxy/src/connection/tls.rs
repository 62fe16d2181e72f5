//! Handshakes with callers, bounded in number and time.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::mesh::{Mesh, Spoken};
use outrigger_certs::problem::Problem;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, TlsStream};

use crate::caller::Caller;
use crate::connect::TlsFailure;
use crate::gateway::Edge;
use crate::http::server::Downstream;
use crate::transport::Transport;
use crate::worker::Worker;

/// While others wait for a place, a handshake that is not over after this gives up its own: a caller takes a few milliseconds, and whoever
/// means to hold all places holds each no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// A fatal alert (RFC 8446 §6, RFC 6066 §3) in a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 112];

/// Lets a caller prove who it is.
pub(super) async fn accept(
    stream: TcpStream,
    mesh: &Arc<Mesh>,
    downstream: &Downstream,
) -> Result<(Transport, Spoken), TlsFailure> {
    let shaking = TlsAcceptor::from(mesh.server().clone()).accept(stream);
    let shaken = shake(shaking, &downstream.worker).await?;
    let stream = shaken.map_err(|error: io::Error| TlsFailure::of(&error))?;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(<[_]>::first).ok_or(Problem::Missing);
    let caller = leaf.and_then(|leaf| Caller::new(leaf, session.server_name(), mesh));
    let caller = caller.map_err(TlsFailure::Certificate)?;
    // Whoever names no protocol speaks what everybody speaks.
    let spoken = session.alpn_protocol().and_then(Spoken::of).unwrap_or(Spoken::Http1);
    // Empty until here.
    let _ = downstream.caller.set(Rc::new(caller));
    Ok((Transport::Tls(Box::new(TlsStream::Server(stream))), spoken))
}

/// Lets a client of a gateway in: the host that it asks for says which listener it means.
pub(super) async fn admit(
    stream: TcpStream,
    edge: &Edge,
    worker: &Worker,
) -> Result<(Transport, Spoken), TlsFailure> {
    let shaking = async {
        let broken = |error: io::Error| TlsFailure::of(&error);
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(broken)?;
        let host = begun.client_hello().server_name().map(str::to_ascii_lowercase);
        let listener = worker.with_plan(|plan| plan.gateway.get(&edge.port())?.tls(host.as_deref()).cloned());
        let listener = listener.flatten().ok_or(TlsFailure::NoCertificate);
        let config = listener.as_ref().ok().and_then(|listener| listener.config());
        let (Ok(listener), Some(config)) = (listener, config) else {
            let mut stream = begun.io;
            // Whether it hears of that is its own affair.
            let _ = stream.write_all(&UNRECOGNIZED_NAME).await;
            return Err(TlsFailure::NoCertificate);
        };
        let stream = begun.into_stream(config.clone()).await.map_err(broken)?;
        let (_, session) = stream.get_ref();
        let shown = listener.shown(session.peer_certificates(), &config).map_err(TlsFailure::Certificate)?;
        edge.secured(shown);
        let spoken = session.alpn_protocol().and_then(Spoken::of).unwrap_or(Spoken::Http1);
        Ok((Transport::Tls(Box::new(TlsStream::Server(stream))), spoken))
    };
    shake(shaking, worker).await?
}

/// A handshake has as long as a request head, and so has the wait for its turn.
async fn shake<T>(shaking: impl Future<Output = T>, worker: &Worker) -> Result<T, TlsFailure> {
    let limit = Duration::from_nanos(worker.limits.head_ns);
    // The semaphore is never closed.
    let _place = timeout(limit, worker.handshakes.acquire()).await.map_err(|_| TlsFailure::Late)?;
    let until = Instant::now() + limit;
    let mut shaking = pin!(shaking);
    loop {
        let look = until.min(Instant::now() + PATIENCE);
        if let Ok(shaken) = timeout_at(look, shaking.as_mut()).await {
            return Ok(shaken);
        }
        if look == until || worker.handshakes.available_permits() == 0 {
            return Err(TlsFailure::Late);
        }
    }
}
