//! Handshakes with callers, bounded in number and time.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::mesh::{Mesh, Spoken};
use outrigger_certs::problem::Problem;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::ServerConfig;

use crate::caller::{Caller, is_caller};
use crate::connect::TlsFailure;
use crate::gateway::Edge;
use crate::handshakes::GRACE;
use crate::http::server::Downstream;
use crate::identity::Standing;
use crate::termination::{Client, TlsListener};
use crate::transport::Transport;
use crate::transport::tls::{Greeting, TlsStream};
use crate::worker::Worker;

/// A fatal alert (RFC 8446 §6, RFC 6066 §3) in a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 112];

/// Lets a caller prove who it is.
pub(super) async fn accept(
    stream: TcpStream,
    mesh: &Arc<Mesh>,
    downstream: &Downstream,
) -> Result<(Transport, Spoken), TlsFailure> {
    let shaking = async {
        let greeting = Greeting::read(stream).await.map_err(broken)?;
        prove(greeting, mesh, downstream).await
    };
    shake(Box::pin(shaking), &downstream.worker, downstream.between.source.ip()).await?
}

/// Notes who a caller is.
async fn prove(
    greeting: Greeting<TcpStream>,
    mesh: &Mesh,
    downstream: &Downstream,
) -> Result<(Transport, Spoken), TlsFailure> {
    let called = greeting.hello().server_name().map(str::to_owned);
    let mut stream = greeting.answer(mesh.server().clone()).await.map_err(broken)?;
    let worker = &downstream.worker;
    let peer = stream.admit(&worker.identity, mesh).map_err(TlsFailure::Certificate)?;
    let leaf = stream.peer_certificates().and_then(<[_]>::first).ok_or(Problem::Missing);
    let counted = (worker.identity.callers(), worker.index);
    let caller = leaf.and_then(|leaf| Caller::new(peer, leaf, called.as_deref(), mesh, counted));
    let caller = caller.map_err(TlsFailure::Certificate)?;
    // Empty until here.
    let _ = downstream.caller.set(Rc::new(caller));
    Ok(spoken(stream))
}

/// What is spoken inside. Whoever names no protocol speaks what everybody speaks.
fn spoken(stream: Box<TlsStream<TcpStream>>) -> (Transport, Spoken) {
    let spoken = stream.alpn().and_then(Spoken::of).unwrap_or(Spoken::Http1);
    (stream.into(), spoken)
}

fn broken(error: io::Error) -> TlsFailure {
    TlsFailure::of(&error)
}

/// Lets a caller of the mesh prove who it is, or a client outside of it in on the terms of `port`, as the ClientHello says. A caller of the mesh
/// that does not say so is let in as such a client, and is nobody.
pub(super) async fn greet(
    stream: TcpStream,
    port: u16,
    listener: Arc<TlsListener>,
    downstream: &Downstream,
) -> Result<(Transport, Spoken), TlsFailure> {
    let worker = &downstream.worker;
    let shaking = async {
        let greeting = Greeting::read(stream).await.map_err(broken)?;
        let trust = worker.with_plan(|plan| plan.trust.clone()).flatten();
        let domain = trust.as_ref().map(|trust| trust.domain());
        let hello = greeting.hello();
        let opaque =
            hello.alpn().is_some_and(|mut offered| offered.any(|name| name == Spoken::Opaque.alpn()));
        if is_caller(hello.server_name(), opaque, domain) {
            let Standing::Proved(mesh) = worker.identity.standing() else {
                return Err(TlsFailure::NoIdentity);
            };
            return prove(greeting, &mesh, downstream).await;
        }
        let (stream, config) = end(greeting, Some(&listener)).await?;
        let certificate =
            listener.shown(stream.peer_certificates(), &config, domain).map_err(TlsFailure::Certificate)?;
        // Empty until here.
        let _ = downstream.client.set(Rc::new(Client { port, certificate }));
        Ok(spoken(stream))
    };
    shake(Box::pin(shaking), worker, downstream.between.source.ip()).await?
}

/// Ends the TLS of a client outside the mesh, who hears that nothing is for it where there is nothing to show.
async fn end(
    greeting: Greeting<TcpStream>,
    listener: Option<&Arc<TlsListener>>,
) -> Result<(Box<TlsStream<TcpStream>>, Arc<ServerConfig>), TlsFailure> {
    let Some(server) = listener.and_then(|listener| listener.server()) else {
        let mut stream = greeting.into_io();
        // Whether it hears of that is its own affair.
        let _ = stream.write_all(&UNRECOGNIZED_NAME).await;
        return Err(TlsFailure::NoCertificate);
    };
    let config = server.config(greeting.hello().cipher_suites()).clone();
    let stream = greeting.answer(config.clone()).await.map_err(broken)?;
    Ok((stream, config))
}

/// Lets a client of a gateway in: the host that it asks for says which listener it means.
pub(super) async fn admit(
    stream: TcpStream,
    edge: &Edge,
    downstream: &Downstream,
) -> Result<(Transport, Spoken), TlsFailure> {
    let worker = &downstream.worker;
    let shaking = async {
        let greeting = Greeting::read(stream).await.map_err(broken)?;
        let host = greeting.hello().server_name().map(str::to_ascii_lowercase);
        let found = worker.with_plan(|plan| {
            let listener = plan.gateway.get(&edge.port())?.tls(host.as_deref()).cloned();
            Some((listener, plan.trust.clone()))
        });
        let (listener, trust) = found.flatten().unwrap_or_default();
        let (stream, config) = end(greeting, listener.as_ref()).await?;
        let chain = stream.peer_certificates();
        let domain = trust.as_ref().map(|trust| trust.domain());
        let shown = listener.map(|listener| listener.shown(chain, &config, domain)).transpose();
        edge.secured(shown.map_err(TlsFailure::Certificate)?.flatten());
        Ok(spoken(stream))
    };
    shake(Box::pin(shaking), worker, downstream.between.source.ip()).await?
}

/// A handshake has as long as a request head, and so has the wait for its turn. While others wait, it may have less.
async fn shake<T>(shaking: impl Future<Output = T>, worker: &Worker, from: IpAddr) -> Result<T, TlsFailure> {
    let limit = Duration::from_nanos(worker.limits.head_ns);
    let place = timeout(limit, worker.handshakes.take(from)).await.map_err(|_| TlsFailure::Late)?;
    let begun = Instant::now();
    let until = begun + limit;
    let mut shaking = pin!(shaking);
    loop {
        let look = until.min(Instant::now() + GRACE);
        if let Ok(shaken) = timeout_at(look, shaking.as_mut()).await {
            return Ok(shaken);
        }
        if look == until || place.is_wanted(begun.elapsed()) {
            return Err(TlsFailure::Late);
        }
    }
}
