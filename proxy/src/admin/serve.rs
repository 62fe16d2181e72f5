//! HTTP/1.1 for the admin endpoints. Connections are futures of one task, so their state need not be `Send`; there are few of
//! them, and each has an end.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT, HOST, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::answer::{Answer, Sent};
use super::lines::{STALL_MAX, Taken};
use super::{AdminState, Asked, Surface, answer};
use crate::clock;

/// Connections to one listener at a time; others have the place of one that is idle, or wait in its queue.
pub const CONNECTIONS_MAX: usize = 64;
/// Largest request head, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Until a request head is there, also on a connection that is reused.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// Until a connection is asked to end.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(300);
/// Until it is cut after that.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after the system refused to give a connection, so that the loop does not spin while it has no descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one connection is at, for whoever looks for a place.
#[derive(Debug, Default)]
struct Seat {
    /// It is being answered.
    busy: Cell<bool>,
    /// Since when it is not.
    since_ns: Cell<u64>,
    /// Its place is wanted.
    wanted: Notify,
    taken: Taken,
}

impl Seat {
    fn is_idle(&self) -> bool {
        !self.busy.get() && self.taken.get() == 0
    }
}

/// Answers on `listener` until it is dropped. Where all places are taken, whoever comes has that of the connection that has asked nothing for the
/// longest.
pub async fn serve(listener: TcpListener, surface: Surface, state: Rc<dyn AdminState>) {
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let freed = Notify::new();
    let (mut connections, mut seats) = (FuturesUnordered::new(), Vec::<Weak<Seat>>::new());
    loop {
        seats.retain(|seat| seat.strong_count() > 0);
        let idle = || seats.iter().filter_map(Weak::upgrade).filter(|seat| seat.is_idle());
        let has_room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            accepted = listener.accept(), if has_room || idle().next().is_some() => match accepted {
                Ok((stream, _)) => {
                    if !has_room && let Some(idlest) = idle().min_by_key(|seat| seat.since_ns.get()) {
                        // It looks no longer idle, so that the next takes another place.
                        idlest.busy.set(true);
                        idlest.wanted.notify_one();
                    }
                    let seat = Rc::new(Seat { since_ns: Cell::new(clock::now_ns()), ..Seat::default() });
                    seats.push(Rc::downgrade(&seat));
                    connections.push(connection(stream, surface, is_local, Rc::clone(&state), seat, &freed));
                }
                Err(error) => {
                    tracing::debug!("an admin connection was not accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(()) = connections.next() => {}
            () = freed.notified() => {}
        }
    }
}

async fn connection(
    stream: TcpStream,
    surface: Surface,
    is_local: bool,
    state: Rc<dyn AdminState>,
    seat: Rc<Seat>,
    freed: &Notify,
) {
    let seat = &seat;
    let service = service_fn(|request| {
        let state = Rc::clone(&state);
        async move {
            seat.busy.set(true);
            let answer = respond(&request, surface, is_local, state.as_ref(), &seat.taken).await;
            seat.busy.set(false);
            seat.since_ns.set(clock::now_ns());
            freed.notify_one();
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let served = async {
        let mut served = pin!(served);
        let mut waited = Duration::ZERO;
        // What goes wrong on such a connection is its client's to notice.
        while tokio::time::timeout(STALL_MAX, served.as_mut()).await.is_err() {
            waited += STALL_MAX;
            // A stream goes on for as long as somebody takes it.
            let streams = seat.taken.get() != 0;
            if streams && !is_taken(&seat.taken) || !streams && waited >= CONNECTION_DEADLINE {
                served.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(CLOSE_DEADLINE, served).await;
                return;
            }
        }
    };
    tokio::select! {
        () = served => {}
        () = seat.wanted.notified() => {}
    }
}

fn is_taken(taken: &Taken) -> bool {
    taken.get() != 0 && clock::now_ns().saturating_sub(taken.get()) < STALL_MAX.as_nanos() as u64
}

async fn respond<B>(
    request: &Request<B>,
    surface: Surface,
    is_local: bool,
    state: &dyn AdminState,
    taken: &Taken,
) -> Response<Sent> {
    if surface == Surface::Admin && is_foreign(request, is_local) {
        let text = "refused: this looks like a web page that reaches for the admin endpoints\n";
        return Answer::text(StatusCode::FORBIDDEN, text).into_response();
    }
    let asked = Asked {
        method: request.method(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        accept: request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default(),
        taken,
    };
    answer(surface, asked, state).await.into_response()
}

/// Whether a page in some browser on this machine may have sent it: by a form, or by a name that it made resolve to here.
fn is_foreign<B>(request: &Request<B>, is_local: bool) -> bool {
    if request.method() == Method::POST && request.headers().contains_key(ORIGIN) {
        return true;
    }
    let Some(host) = request.headers().get(HOST).filter(|_| is_local) else { return false };
    let authority = host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok());
    let Some(authority) = authority else { return true };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host != "localhost" && host.parse::<IpAddr>().is_err()
}
