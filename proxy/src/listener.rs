//! Bound sockets and the connections they accept.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel holds for us.
const BACKLOG: i32 = 4_096;

/// Pause after a connection could not be accepted, for want of file descriptors or other trouble.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({flag}): {error}{}", hint(error))]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// The flag that says so.
    pub flag: &'static str,
    /// Why not.
    pub error: io::Error,
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
    bound().map_err(|error| BindError { address, flag, error })
}

/// Lets a bound socket take connections. Another process may have begun to meanwhile.
pub fn listen(listener: &StdListener, address: SocketAddr, flag: &'static str) -> Result<(), BindError> {
    let listening = socket2::SockRef::from(listener).listen(BACKLOG);
    listening.map_err(|error| BindError { address, flag, error })
}

/// Accepts one connection. Errors of a single connection are passed over. Any other is waited out, be it want of descriptors, a firewall
/// or trouble of the network (accept(2) names a dozen): a listener that gave up would leave a proxy that seems well and serves nobody.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Fails only on a connection that is gone already.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
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

/// What the kernel has accepted already. From now on it begins no handshake (the client's attempt waits, and is refused once the listener is
/// closed): a connection accepted between here and the close would be reset.
pub async fn accept_queued(listener: &TcpListener) -> Vec<(TcpStream, SocketAddr)> {
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
