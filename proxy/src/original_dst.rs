//! Where a connection was going that the kernel has redirected to this proxy.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The address that the client dialled; `None`: this listener's own. Two syscalls, and so only where connections are intercepted.
///
/// It is what the kernel's connection tracking remembers (`SO_ORIGINAL_DST`), and says nothing of connections that it does not track.
pub fn original_dst(stream: &TcpStream) -> Option<SocketAddr> {
    let listener = canonical(stream.local_addr().ok()?);
    let socket = SockRef::from(stream);
    let asked = if listener.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let dialled = canonical(asked.ok()?.as_socket()?);
    (dialled != listener).then_some(dialled)
}

/// Listeners for both families see IPv4 addresses as IPv6 ones (RFC 4291 §2.5.5.2). Scopes and flow labels say nothing of where it goes.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
