//! Sockets of the control plane: bound once, each connection served under limits, drained at the end.

mod activity;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use activity::Activity;
use axum::Router;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::enrol::Places;

/// Most connections at a time on one listener; the next ones wait in the accept queue.
const CONNECTIONS_MAX: usize = 1_024;

/// How long a client may take over its TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How long a client may take to send a request's head; the first one counts from when the connection can carry it.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// How long a connection is kept after its last request was answered, also if the client takes as long to read the answer.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// How long requests in flight may take to end once the process was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Wait after a failed `accept` (descriptors used up): short enough to be back soon, long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Who is at the other end of a connection; an extension of each of its requests.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where.
    pub address: SocketAddr,
    /// The certificates that were shown, the own first; whether they are believed is the TLS acceptor's to say.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// An address that can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {reason}; set another address with {flag} (port 0 picks a free one)")]
pub struct BindError {
    address: SocketAddr,
    flag: &'static str,
    reason: &'static str,
    #[source]
    source: std::io::Error,
}

impl Listener {
    /// Binds `address`, which `flag` sets.
    pub async fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, BindError> {
        let failed = |source: std::io::Error| {
            let reason = match source.kind() {
                std::io::ErrorKind::AddrInUse => "the port is taken, perhaps by another control plane",
                std::io::ErrorKind::PermissionDenied => "not permitted",
                std::io::ErrorKind::AddrNotAvailable => "no interface here has this address",
                _ => "the system refused",
            };
            BindError { address, flag, reason, source }
        };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `stop` says true, then waits for requests in flight, at most `DRAIN_MAX`. `shares`: no source of connections may
    /// have more than its share of the places.
    pub async fn serve(
        self,
        tls: Option<TlsAcceptor>,
        router: Router,
        shares: Option<Arc<Places>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.socket, &places) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, address, place) = accepted;
            let share = match &shares {
                None => None,
                Some(shares) => match shares.take(address.ip()) {
                    Some(share) => Some(share),
                    // Closed at once: whoever waits would take a place.
                    None => continue,
                },
            };
            let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
            tokio::spawn(async move {
                serve_connection(stream, address, tls, router, stop).await;
                drop((place, share));
            });
        }
        drop(self.socket);
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        if tokio::time::timeout(DRAIN_MAX, places.acquire_many(all)).await.is_err() {
            tracing::warn!("stopping with requests still in flight");
        }
    }
}

async fn accept(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
        match socket.accept().await {
            Ok((stream, address)) => return (stream, address, place),
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    let Some(tls) = tls else {
        return serve_http(stream, Peer { address, certificates: Arc::default() }, router, stop).await;
    };
    match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
            let peer = Peer { address, certificates: certificates.unwrap_or_default().into() };
            serve_http(stream, peer, router, stop).await
        }
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100).keep_alive_interval(HEAD_MAX);
    let activity = Activity::new();
    let service = service_fn(|mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let asked = activity.request();
        let answer = router.clone().oneshot(request);
        async move {
            let answer = answer.await;
            drop(asked);
            answer
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        // The limits above begin only once the client has shown which HTTP it speaks, and don't end an idle HTTP/2 connection.
        () = activity.lapsed() => return tracing::debug!("a connection without requests was closed"),
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "connection ended early");
        },
        () = activity.lapsed() => {}
    }
}

#[cfg(test)]
mod tests;
