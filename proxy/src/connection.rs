//! One downstream connection: what it speaks, then serving it.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use outrigger_certs::mesh::Spoken;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::clock;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::gateway::{Edge, Opening};
use crate::http::server::{Downstream, UNSPOKEN_NS, serve_http1, serve_http2};
use crate::identity::Standing;
use crate::sweep::Timer;
use crate::telemetry::metrics::Direction;

mod tls;

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detected {
    Http1,
    Http2,
    /// A handshake (RFC 8446 §5.1).
    Tls,
    /// Could still be either.
    Undecided,
}

fn detect(first: &[u8]) -> Detected {
    match first {
        [] => Detected::Undecided,
        [0x16, ..] => Detected::Tls,
        _ if first.starts_with(PREFACE) => Detected::Http2,
        _ if PREFACE.starts_with(first) => Detected::Undecided,
        _ => Detected::Http1,
    }
}

/// Serves a connection until it ends. Nothing is allocated for HTTP before the first byte has come.
pub async fn serve<S>(stream: TcpStream, downstream: Rc<Downstream>, stack: S)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    match first_bytes(&stream, &downstream).await {
        Ok(Some(Detected::Tls)) => Box::pin(serve_tls(stream, downstream, stack)).await,
        Ok(Some(Detected::Http1)) => Box::pin(serve_http1(stream.into(), downstream, stack)).await,
        Ok(Some(Detected::Http2)) => Box::pin(serve_http2(stream.into(), downstream, stack)).await,
        // It left, said nothing for too long, or the proxy drains.
        Ok(Some(Detected::Undecided) | None) | Err(_) => {}
    }
}

/// Serves a caller of the mesh. Where there is no identity, the first bytes are no HTTP, which the client is told.
async fn serve_tls<S>(stream: TcpStream, downstream: Rc<Downstream>, stack: S)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    if let Some(edge) = downstream.edge.get().cloned() {
        return match edge.opening() {
            Opening::Expected => serve_stranger(stream, downstream, edge, stack).await,
            // The first bytes are no HTTP, which the client is told.
            Opening::Plain | Opening::Tls => serve_http1(stream.into(), downstream, stack).await,
        };
    }
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
                Spoken::Http1 | Spoken::Opaque => serve_http1(transport, downstream, stack).await,
            }
        }
        Err(failure) => {
            downstream.worker.stats.tls_failed(Direction::Inbound, &failure);
            tracing::debug!(peer = ?downstream.peer, reason = failure.code(), "a caller is refused: {failure}");
        }
    }
}

/// Serves a client of a gateway.
async fn serve_stranger<S>(stream: TcpStream, downstream: Rc<Downstream>, edge: Rc<Edge>, stack: S)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    match tls::admit(stream, &edge, &downstream.worker).await {
        Ok((transport, spoken)) => {
            downstream.worker.stats.handshakes[Direction::Inbound as usize].done.add(1);
            match spoken {
                Spoken::Http2 => serve_http2(transport, downstream, stack).await,
                Spoken::Http1 | Spoken::Opaque => serve_http1(transport, downstream, stack).await,
            }
        }
        Err(failure) => {
            downstream.worker.stats.tls_failed(Direction::Inbound, &failure);
            tracing::debug!(peer = ?downstream.peer, reason = failure.code(), "a client is refused: {failure}");
        }
    }
}

/// Looks at the first bytes without taking them. A preface that stops half-way has as long as a head has.
async fn first_bytes(stream: &TcpStream, downstream: &Downstream) -> io::Result<Option<Detected>> {
    let worker = &downstream.worker;
    let mut timer = Timer::new(&worker.sweep);
    let mut seen = 0;
    let mut hurried = false;
    let mut due_ns = clock::now_ns().saturating_add(worker.limits.idle_ns);
    loop {
        let mut bytes = [0; PREFACE.len()];
        let peeked = poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut bytes);
            let polled = stream.poll_peek(context, &mut buffer);
            if polled.is_ready() {
                return polled;
            }
            if timer.fired() {
                return Poll::Ready(Ok(0));
            }
            if worker.phase().drains(downstream.direction) && !hurried {
                hurried = true;
                due_ns = due_ns.min(clock::now_ns() + UNSPOKEN_NS);
            }
            timer.arm(due_ns, context.waker());
            Poll::Pending
        });
        let count = peeked.await?;
        match detect(&bytes[..count]) {
            _ if count == 0 => return Ok(None),
            Detected::Undecided => {}
            detected => return Ok(Some(detected)),
        }
        if seen == 0 {
            due_ns = clock::now_ns().saturating_add(worker.limits.head_ns);
        }
        if count == seen && clock::now_ns() >= due_ns {
            return Ok(None);
        }
        seen = count;
        // The socket stays readable while the rest of the preface is under way: looking again at once would spin.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_told_from_everything_else() {
        for (first, detected) in [
            (&b""[..], Detected::Undecided),
            (b"P", Detected::Undecided),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Detected::Undecided),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Detected::Http2),
            (b"PUT / HTTP/1.1\r\n", Detected::Http1),
            (b"PRI * HTTP/1.1\r\n", Detected::Http1),
            (b"\x16\x03\x01", Detected::Tls),
        ] {
            assert_eq!(detect(first), detected, "{first:?}");
        }
    }
}
