//! How many bytes must have come before a socket counts as readable: `SO_RCVLOWAT` (socket(7), and tcp(7) for what polling makes of it).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use libc::{SO_RCVLOWAT, SOL_SOCKET, c_int, setsockopt, socklen_t};

/// Says so. A socket whose peer has ended, or that has no room for so many, is readable with fewer.
#[expect(unsafe_code, reason = "no crate that is at hand has a safe name for it")]
pub(super) fn set(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    let socket = socket.as_fd();
    // SAFETY: the descriptor is open as long as it is borrowed, and the pointer is to an initialised c_int whose size is said.
    let said = unsafe {
        setsockopt(
            socket.as_raw_fd(),
            SOL_SOCKET,
            SO_RCVLOWAT,
            std::ptr::from_ref(&bytes).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if said == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
