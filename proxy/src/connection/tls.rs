//! Handshakes with callers, bounded in number and time.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::mesh::{Mesh, Spoken};
use outrigger_certs::problem::Problem;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::caller::Caller;
use crate::connect::TlsFailure;
use crate::http::server::Downstream;
use crate::transport::Transport;

/// Lets a caller prove who it is. It has as long for that, and for the wait for its turn, as for a request head.
pub(super) async fn accept(
    stream: TcpStream,
    mesh: &Arc<Mesh>,
    downstream: &Downstream,
) -> Result<(Transport, Spoken), TlsFailure> {
    let worker = &downstream.worker;
    let handshake = async {
        // Never closed.
        let _place = worker.handshakes.acquire().await;
        TlsAcceptor::from(mesh.server().clone()).accept(stream).await
    };
    let shaken = tokio::time::timeout(Duration::from_nanos(worker.limits.head_ns), handshake).await;
    let stream = shaken.map_err(|_| TlsFailure::Late)?.map_err(|error| TlsFailure::of(&error))?;
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
