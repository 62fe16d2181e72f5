//! Handshakes with callers, bounded in number and time.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::mesh::{Mesh, Spoken};
use outrigger_certs::problem::Problem;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream as Accepted;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::caller::Caller;
use crate::connect::TlsFailure;
use crate::http::server::Downstream;
use crate::transport::Transport;
use crate::worker::Worker;

/// While others wait for a place, a handshake that is not over after this gives up its own: a caller takes a few milliseconds, and whoever
/// means to hold all places holds each no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lets a caller prove who it is.
pub(super) async fn accept(
    stream: TcpStream,
    mesh: &Arc<Mesh>,
    downstream: &Downstream,
) -> Result<(Transport, Spoken), TlsFailure> {
    let stream = shake(stream, mesh, &downstream.worker).await?;
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

/// A handshake has as long as a request head, and so has the wait for its turn.
async fn shake(stream: TcpStream, mesh: &Mesh, worker: &Worker) -> Result<Accepted<TcpStream>, TlsFailure> {
    let limit = Duration::from_nanos(worker.limits.head_ns);
    // The semaphore is never closed.
    let _place = timeout(limit, worker.handshakes.acquire()).await.map_err(|_| TlsFailure::Late)?;
    let until = Instant::now() + limit;
    let mut shaking = pin!(TlsAcceptor::from(mesh.server().clone()).accept(stream));
    loop {
        let look = until.min(Instant::now() + PATIENCE);
        if let Ok(shaken) = timeout_at(look, shaking.as_mut()).await {
            return shaken.map_err(|error: io::Error| TlsFailure::of(&error));
        }
        if look == until || worker.handshakes.available_permits() == 0 {
            return Err(TlsFailure::Late);
        }
    }
}
