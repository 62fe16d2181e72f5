//! Connections that the kernel has redirected here. Where they were going decides what they are, and only where that does not, what they say first.
//!
//! | dialled | first bytes | goes |
//! |---|---|---|
//! | a port of TCP or TLS of the mesh | not waited for | as the routes of that port say |
//! | an HTTP port of the mesh | HTTP | by host; to that port, where nobody is called by the host |
//! | anything else | HTTP/1, and its host is of the mesh | by host |
//! | anything | anything else, or nothing for a while | where it was going, if it may; HTTP that may not is answered |
//! | a port of the own service, inbound | | as on a listener of that port |
//! | another port, inbound | | where it was going, unless the service is `Strict` |

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use outrigger_snapshot::head::Authority;
use tower_service::Service;

use super::first::{Peek, Peeked};
use super::{Arrival, serve};
use crate::detect::asked::{ASKED_BYTES_MAX, Asked, asked};
use crate::detect::spoken::{FIRST_BYTES_MAX, Spoken, spoken};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::http::server::{Downstream, serve_http1, serve_http2};
use crate::opaque::{Passing, Refusal, pass, serve_port, turn_away};
use crate::original_dst::original_dst;
use crate::plan::interception::Addressed;
use crate::telemetry::metrics::Direction;
use crate::transport::Socket;

/// How intercepted connections are treated, on all listeners.
#[derive(Debug)]
pub struct Interceptor {
    /// Whether connections may lead out of the mesh.
    pub lets_out: bool,
    /// Ports on which this proxy listens itself.
    pub own_ports: Vec<u16>,
    /// Of those, listeners for one port of the own service, and that port.
    pub declared: Vec<(u16, u16)>,
    /// What is on its way out.
    pub passing: Arc<Passing>,
}

/// An intercepted connection.
#[derive(Debug)]
pub struct Intercepted {
    stream: Socket,
    dialled: SocketAddr,
    interceptor: Arc<Interceptor>,
}

/// What a connection says first.
enum Said {
    /// A request of HTTP/1, for that host if it can be read.
    Http1(Option<Authority>),
    /// The preface of HTTP/2.
    Http2,
    /// Something else, or nothing.
    Else,
}

impl Intercepted {
    /// The connection; the error is one that was not redirected.
    pub fn new(stream: Socket, interceptor: &Arc<Interceptor>) -> Result<Self, Socket> {
        let dialled = match &stream {
            Socket::Tcp(stream) => original_dst(stream),
            Socket::Unix(_) => None,
        };
        match dialled {
            Some(dialled) => Ok(Self { stream, dialled, interceptor: interceptor.clone() }),
            None => Err(stream),
        }
    }

    /// Serves it until it ends.
    pub async fn serve<S>(self, mut arrival: Arrival, stack: S)
    where
        S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
    {
        arrival.between.destination = Some(self.dialled);
        match arrival.direction {
            Direction::Inbound => self.serve_inbound(arrival, stack).await,
            Direction::Outbound => self.serve_outbound(arrival, stack).await,
        }
    }

    async fn serve_inbound<S>(self, mut arrival: Arrival, stack: S)
    where
        S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
    {
        let dialled = self.dialled.port();
        let own = arrival.worker.with_plan(|plan| {
            plan.interception.as_ref().map(|known| (known.own_port(dialled), known.strict))
        });
        let (port, strict) = own.flatten().unwrap_or((None, true));
        let declared = || self.interceptor.declared.iter().find(|(at, _)| *at == dialled);
        let port = port.or_else(|| declared().map(|(_, port)| *port));
        if port.is_some() {
            arrival.port = port;
            return serve(self.stream, arrival, stack).await;
        }
        let downstream = Downstream::new(arrival);
        if self.interceptor.own_ports.contains(&dialled) {
            return turn_away(&downstream, self.stream, &Refusal::Loop(self.dialled));
        }
        if strict {
            return turn_away(&downstream, self.stream, &Refusal::UnnamedPort(dialled));
        }
        self.pass(downstream).await;
    }

    async fn serve_outbound<S>(mut self, arrival: Arrival, stack: S)
    where
        S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
    {
        let addressed = arrival.worker.with_plan(|plan| plan.addressed(self.dialled)).flatten();
        let downstream = Downstream::new(arrival);
        let requests = match addressed {
            Some(Addressed::Opaque(port)) => return serve_port(&downstream, &port, self.stream.into()).await,
            Some(Addressed::Requests(port)) => Some(port),
            None => None,
        };
        let Ok(said) = listen(&mut self.stream, &downstream).await else { return };
        let known = |host: &Authority| downstream.worker.with_plan(|plan| plan.outbound.knows(host));
        let ours = requests.is_some()
            || match &said {
                Said::Http1(Some(host)) => known(host) == Some(true),
                // Its hosts show only once it is answered, and then it is too late to let it pass.
                Said::Http1(None) | Said::Http2 | Said::Else => false,
            };
        // Over HTTP there is an answer that says why.
        let answered = ours || !self.interceptor.lets_out;
        if let Some(port) = requests {
            // Empty until here.
            let _ = downstream.addressed.set(port);
        }
        match said {
            Said::Http1(_) if answered => Box::pin(serve_http1(self.stream.into(), downstream, stack)).await,
            Said::Http2 if answered => Box::pin(serve_http2(self.stream.into(), downstream, stack)).await,
            Said::Http1(_) | Said::Http2 | Said::Else => self.pass(downstream).await,
        }
    }

    /// Carries it to where it was going, if it may leave the mesh.
    async fn pass(self, downstream: Rc<Downstream>) {
        if downstream.direction == Direction::Outbound && !self.interceptor.lets_out {
            return turn_away(&downstream, self.stream, &Refusal::UnknownDestination(self.dialled));
        }
        Box::pin(pass(downstream, self.stream, self.dialled, &self.interceptor.passing)).await;
    }
}

/// Hears what a connection says first, without taking it. Whoever is silent may be waiting for the other side to speak: no longer than an unknown
/// protocol may take to show.
async fn listen(stream: &mut Socket, downstream: &Downstream) -> io::Result<Said> {
    let limits = &downstream.worker.limits;
    let mut peek = Peek::new(stream, &downstream.worker, downstream.direction, limits.detect_ns);
    let mut first = [0; FIRST_BYTES_MAX];
    loop {
        let Peeked::Bytes(count) = peek.more(&mut first).await? else { return Ok(Said::Else) };
        match spoken(&first[..count], false) {
            Spoken::Undecided => {}
            Spoken::Http1 => break,
            Spoken::Http2 => return Ok(Said::Http2),
            Spoken::Tls | Spoken::Opaque => return Ok(Said::Else),
        }
    }
    peek.begin_again(limits.head_ns);
    let mut head = vec![0; ASKED_BYTES_MAX];
    loop {
        let Peeked::Bytes(count) = peek.more(&mut head).await? else { return Ok(Said::Http1(None)) };
        match asked(&head[..count]) {
            Asked::NeedMore => {}
            Asked::For(host) => return Ok(Said::Http1(Some(host))),
            Asked::Nobody => return Ok(Said::Http1(None)),
        }
    }
}
