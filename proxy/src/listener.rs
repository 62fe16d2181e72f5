//! Bound sockets and the connections they accept.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::config::Place;
use crate::transport;

pub use unix::SocketFile;

mod unix;

/// Connections that the kernel holds for us.
const BACKLOG: i32 = 4_096;

/// Pause after a connection could not be accepted, for want of file descriptors or other trouble.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who connects to a socket of the machine: the application. Such a socket has no address for it, and this one stands for that.
const APPLICATION: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {place} ({flag}): {error}{hint}")]
pub struct BindError {
    /// Where.
    pub place: Place,
    /// The flag that says so.
    pub flag: &'static str,
    /// Why not.
    pub error: io::Error,
    /// What to do about it, after the error.
    pub hint: &'static str,
}

impl BindError {
    fn new(address: SocketAddr, flag: &'static str, error: io::Error) -> Self {
        let hint = hint(&error);
        Self { place: address.into(), flag, error, hint }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ". Another process, perhaps another Outrigger, has it: choose another port, or 0 for any that is free"
        }
        io::ErrorKind::PermissionDenied => ". Ports below 1024 need CAP_NET_BIND_SERVICE: choose one above",
        io::ErrorKind::AddrNotAvailable => ". No interface of this machine has that address",
        _ => "",
    }
}

/// Binds a socket, once and for all workers, and listens. Without `SO_REUSEPORT`, a second process cannot take the port silently.
pub fn bind(address: SocketAddr, flag: &'static str) -> Result<StdListener, BindError> {
    let listener = reserve(address, flag)?;
    listen(&listener, address, flag)?;
    Ok(listener)
}

/// A socket that listens, and that nobody accepts from yet.
#[derive(Debug)]
pub enum Bound {
    /// At an address.
    Tcp(StdListener),
    /// At a socket of the machine.
    Unix(SocketFile, std::os::unix::net::UnixListener),
}

/// A socket that is accepted from. Dropped, it refuses connections.
#[derive(Debug)]
pub enum Listener {
    /// At an address.
    Tcp(TcpListener),
    /// At a socket of the machine. The file goes first: the socket keeps its inode, by which it is known.
    Unix(SocketFile, UnixListener),
}

impl Bound {
    /// Has the runtime of this thread look after it.
    pub fn attach(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(file, listener) => Listener::Unix(file, UnixListener::from_std(listener)?),
        })
    }

    /// Where it is, as far as the system says so; port 0 has become a real one.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(Place::from),
            Self::Unix(file, _) => Some(file.path().into()),
        }
    }
}

impl From<StdListener> for Bound {
    fn from(listener: StdListener) -> Self {
        Self::Tcp(listener)
    }
}

/// The same as [`bind`], wherever it is.
pub fn bind_at(place: &Place, flag: &'static str) -> Result<Bound, BindError> {
    match place {
        Place::Address(address) => bind(*address, flag).map(Bound::Tcp),
        Place::Socket(path) => {
            let bound = unix::bind(path).map(|(file, listener)| Bound::Unix(file, listener));
            bound.map_err(|(error, hint)| BindError { place: place.clone(), flag, error, hint })
        }
    }
}

/// Binds a socket that refuses connections until [`listen`]: whoever cannot be served yet is told so at once, and goes elsewhere. That
/// another process listens there would show only then, and so it is tried before.
pub fn reserve_refusing(address: SocketAddr, flag: &'static str) -> Result<StdListener, BindError> {
    let tried = bind(address, flag)?;
    let address = tried.local_addr().unwrap_or(address);
    drop(tried);
    reserve(address, flag)
}

/// The same port on the other loopback address, or on all addresses of the other family, for a listener of IPv4: of which family a connection is
/// decides where the kernel redirects it to. It refuses connections until [`listen`]; `None` where the machine has no IPv6, or the listener another
/// address.
pub fn reserve_on_ipv6(listener: &StdListener, flag: &'static str) -> Result<Option<StdListener>, BindError> {
    let Ok(SocketAddr::V4(bound)) = listener.local_addr() else { return Ok(None) };
    let ip = match *bound.ip() {
        Ipv4Addr::LOCALHOST => Ipv6Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED => Ipv6Addr::UNSPECIFIED,
        _ => return Ok(None),
    };
    match bind_socket(SocketAddr::from((ip, bound.port())), flag, true) {
        Ok(twin) => Ok(Some(twin)),
        Err(BindError { error, .. }) if lacks_ipv6(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let lacking = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].map(|errno| Some(errno.raw_os_error()));
    lacking.contains(&error.raw_os_error())
}

fn reserve(address: SocketAddr, flag: &'static str) -> Result<StdListener, BindError> {
    bind_socket(address, flag, false)
}

fn bind_socket(address: SocketAddr, flag: &'static str, only_v6: bool) -> Result<StdListener, BindError> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if only_v6 {
            socket.set_only_v6(true)?;
        }
        // Only lets a port be bound again whose connections are in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(StdListener::from(socket))
    };
    bound().map_err(|error| BindError::new(address, flag, error))
}

/// Lets a bound socket take connections. Another process may have begun to meanwhile.
pub fn listen(listener: &StdListener, address: SocketAddr, flag: &'static str) -> Result<(), BindError> {
    let listening = socket2::SockRef::from(listener).listen(BACKLOG);
    listening.map_err(|error| BindError::new(address, flag, error))
}

/// Accepts one connection. Errors of a single connection are passed over. Any other is waited out, be it want of descriptors, a firewall
/// or trouble of the network (accept(2) names a dozen): a listener that gave up would leave a proxy that seems well and serves nobody.
pub async fn accept(listener: &Listener) -> (transport::Socket, SocketAddr) {
    let mut told = false;
    loop {
        let accepted = match listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                // Fails only on a connection that is gone already.
                let _ = stream.set_nodelay(true);
                (stream.into(), peer)
            }),
            Listener::Unix(_, listener) => {
                listener.accept().await.map(|(stream, _)| (stream.into(), APPLICATION))
            }
        };
        match accepted {
            Ok(accepted) => return accepted,
            Err(error) if is_connections_own(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("cannot accept connections for now: {error}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_connections_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Handshakes that are under way when a listener is closed have this long to complete.
const HANDSHAKES: Duration = Duration::from_millis(20);

/// What the kernel has accepted already. From now on it accepts nothing more.
pub async fn accept_queued(listener: &Listener) -> Vec<(transport::Socket, SocketAddr)> {
    match listener {
        Listener::Tcp(listener) => {
            let queued = accept_queued_tcp(listener).await.into_iter();
            queued.map(|(stream, peer)| (stream.into(), peer)).collect()
        }
        Listener::Unix(file, listener) => {
            let queued = unix::accept_queued(file, listener).into_iter();
            queued.map(|stream| (stream.into(), APPLICATION)).collect()
        }
    }
}

/// The kernel begins no handshake from now on (the client's attempt waits, and is refused once the listener is closed): a connection accepted
/// between here and the close would be reset.
async fn accept_queued_tcp(listener: &TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    if let Err(error) = socket2::SockRef::from(listener).attach_filter(&DROP_SYN) {
        tracing::debug!("connections may be reset when the listener is closed: {error}");
    }
    tokio::time::sleep(HANDSHAKES).await;
    let mut connections = Vec::new();
    std::future::poll_fn(|context| {
        while let std::task::Poll::Ready(Ok(connection)) = listener.poll_accept(context) {
            connections.push(connection);
        }
        std::task::Poll::Ready(())
    })
    .await;
    connections
}

/// Classic BPF on the TCP header: drop what has SYN set (RFC 9293 §3.1: bit 1 of byte 13), keep the rest.
const DROP_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),       // A = byte 13
    SockFilter::new(0x45, 0, 1, 0x02),     // SYN?
    SockFilter::new(0x06, 0, 0, 0),        // drop
    SockFilter::new(0x06, 0, 0, u32::MAX), // keep
];
