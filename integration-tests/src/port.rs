//! Addresses for listeners that must come back on the same port after a restart.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ports for outgoing connections, so that none of those can sit on a port
/// while its owner restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Each test process starts looking at a place of its own.
const STRIDE: u32 = 37;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback address on which nobody listens now.
pub fn free() -> SocketAddr {
    let start = (std::process::id().wrapping_mul(STRIDE) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + ((u32::from(start) + u32::from(step)) % u32::from(COUNT)) as u16;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
    unreachable!("{COUNT} ports are taken");
}
