//! Opening an upstream connection.

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use outrigger_certs::mesh::Spoken;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use crate::clock;
use crate::cluster::endpoint::Endpoint;
use crate::cluster::{Cluster, Wire};
use crate::error::{ProxyError, Timeout};
use crate::http::body::Body;
use crate::http::failure::upstream_failure;
use crate::http::gather::gather;
use crate::http::heard::Heard;
use crate::http::io::FlatIo;
use crate::http::upgrade::{Socket, Switch};
use crate::identity::{Identity, Standing};
use crate::pool::http2::{Shared, Stream};
use crate::pool::{EndpointPool, Lease, OpenConnection, Parting};
use crate::story::Milestones;
use crate::telemetry::metrics::{Direction, WorkerStats};
use crate::transport::Transport;
use crate::upstream_tls::Tls;

pub use tls::TlsFailure;

mod tls;

/// Most that is read at once from an HTTP/1.1 connection, in bytes; it gets there only for bodies.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Largest response head, in bytes; beyond it the response is malformed.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a response head.
const FIELDS_MAX: usize = 128;
/// Flow-control window of one HTTP/2 stream, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Window of an HTTP/2 connection: several streams may stall without stalling the rest.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// Sent and not yet taken by the socket, per HTTP/2 stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// A connection that nothing comes over is asked for after this whether its peer is still there,
const ASKED_AFTER: Duration = Duration::from_secs(10);
/// again after this,
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// and is closed when so many have not been answered: a machine that vanished without a word is known after 16 s.
const ASKED_MAX: u32 = 3;

/// Opens a connection in its place under the limit.
pub(crate) async fn open(
    pool: &Rc<EndpointPool>,
    connection: OpenConnection,
    cluster: &Cluster,
    wire: Wire,
    milestones: &Milestones,
) -> Result<Lease, ProxyError> {
    let spoken = match wire {
        Wire::Http2 => Spoken::Http2,
        Wire::Http1 => Spoken::Http1,
    };
    let stream = dial(&pool.endpoint, &pool.identity, cluster, spoken, &pool.stats, milestones).await?;
    let opened = match wire {
        Wire::Http2 => open_http2(pool, stream, connection).await,
        Wire::Http1 => open_http1(pool, stream, connection).await,
    };
    opened.map_err(upstream_failure)
}

/// Opens a connection to an endpoint of a cluster, in its time, and counts it. The time limit is for all of it, a handshake included.
pub async fn dial(
    endpoint: &Endpoint,
    identity: &Identity,
    cluster: &Cluster,
    spoken: Spoken,
    stats: &WorkerStats,
    milestones: &Milestones,
) -> Result<Transport, ProxyError> {
    let limit = Duration::from_millis(cluster.timeouts.connect_ms);
    let reaching = async {
        match &cluster.socket {
            None => reach(endpoint, identity, spoken, milestones).await,
            Some(path) => reach_socket(path, endpoint).await,
        }
    };
    let reached = tokio::time::timeout(limit, reaching).await;
    let reached = reached.unwrap_or(Err(ProxyError::Timeout(Timeout::Connect)));
    match &reached {
        Ok(Transport::Tls(_)) => stats.handshakes[Direction::Outbound as usize].done.add(1),
        Err(ProxyError::Tls { failure }) => stats.tls_failed(Direction::Outbound, failure),
        _ => {}
    }
    let count = if reached.is_ok() { &stats.upstream_opened } else { &stats.upstream_connect_failed };
    count.add(1);
    reached
}

/// Opens a connection to the workload, which the endpoint stands for.
async fn reach_socket(path: &Path, endpoint: &Endpoint) -> Result<Transport, ProxyError> {
    let failed = |error: io::Error| {
        let error = io::Error::new(error.kind(), format!("its socket {}: {error}", path.display()));
        ProxyError::ConnectFailed { address: endpoint.address(), error }
    };
    UnixStream::connect(path).await.map(|stream| Transport::Plain(stream.into())).map_err(failed)
}

/// Opens a connection to an endpoint as it is to be dialled.
pub async fn reach(
    endpoint: &Endpoint,
    identity: &Identity,
    spoken: Spoken,
    milestones: &Milestones,
) -> Result<Transport, ProxyError> {
    let address = endpoint.address();
    let failed = |error: io::Error| ProxyError::ConnectFailed { address, error };
    let key = endpoint.key();
    let mesh = match (&key.tls, identity.standing()) {
        (Tls::None | Tls::Server(_), _) | (Tls::Mesh, Standing::None) => None,
        (Tls::Mesh, Standing::Proved(mesh)) => Some(mesh),
        (Tls::Mesh, Standing::Awaited) => {
            return Err(ProxyError::Tls { failure: TlsFailure::NoIdentity });
        }
    };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    ask_for_peer(&stream).map_err(failed)?;
    milestones.tcp_ns.set(clock::now_ns());
    let secured = match (&key.tls, mesh) {
        (Tls::Server(upstream), _) => tls::secure_server(stream, upstream, spoken).await,
        (_, Some(mesh)) => tls::secure(stream, (identity, &mesh), &key.cluster, spoken).await,
        (_, None) => return Ok(stream.into()),
    };
    milestones.tls_ns.set(clock::now_ns());
    secured.map_err(|failure| {
        failure.tell(Direction::Outbound, address.ip());
        ProxyError::Tls { failure }
    })
}

/// Has the kernel ask, over a connection that rests, whether its peer is still there (RFC 9293 §3.8.4).
fn ask_for_peer(stream: &TcpStream) -> io::Result<()> {
    let times = TcpKeepalive::new().with_time(ASKED_AFTER).with_interval(ASKED_AGAIN_AFTER);
    SockRef::from(stream).set_tcp_keepalive(&times.with_retries(ASKED_MAX))
}

async fn open_http1(
    pool: &Rc<EndpointPool>,
    stream: Transport,
    open: OpenConnection,
) -> hyper::Result<Lease> {
    let mut parting = Parting::new(pool, stream.peer().cloned());
    let switch = Switch::default();
    let (sender, mut connection) = http1::Builder::new()
        .max_buf_size(READ_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .handshake(FlatIo::new(Heard::new(stream, switch.clone())))
        .await?;
    let left = switch.clone();
    tokio::task::spawn_local(async move {
        let ended = poll_fn(|context| match parting.poll(context, || left.retire()) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut connection).poll(context).map(Some),
        });
        let ended = ended.await;
        let socket = (left.is_wanted() && matches!(ended, Some(Ok(())))).then(|| {
            let parts = connection.into_parts();
            Socket { stream: parts.io.into_inner().into_inner(), read: parts.read_buf }
        });
        left.leave(socket);
        drop(open);
    });
    Ok(Lease::Http1 { pool: pool.clone(), sender, switch })
}

async fn open_http2(
    pool: &Rc<EndpointPool>,
    stream: Transport,
    open: OpenConnection,
) -> hyper::Result<Lease> {
    let mut open = Some(open);
    let mut parting = Parting::new(pool, stream.peer().cloned());
    let (io, executor) = gather(stream);
    let (sender, mut connection) = http2::Builder::new(executor.clone())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .handshake::<_, Body>(TokioIo::new(io))
        .await?;
    let shared = Shared::new(sender);
    // Weak: the connection ends when the pool has let go of it, and with it this task.
    let allowed = Rc::downgrade(&shared);
    tokio::task::spawn_local(executor.wrap(poll_fn(move |context| {
        let retire = || {
            if let Some(shared) = allowed.upgrade() {
                shared.part();
            }
        };
        if parting.poll(context, retire).is_ready() {
            return Poll::Ready(());
        }
        // How it ends is told to each request.
        let ended = Pin::new(&mut connection).poll(context).map(|_| drop(open.take()));
        if let Some(shared) = allowed.upgrade() {
            shared.allow(connection.current_max_send_streams());
        }
        ended
    })));
    pool.shared.borrow_mut().push(shared.clone());
    Ok(Lease::Http2(Stream::new(pool.clone(), shared)))
}
