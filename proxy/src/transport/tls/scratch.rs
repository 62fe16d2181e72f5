//! What the connections of a thread share while they read and write.

use std::cell::RefCell;
use std::io::IoSlice;

/// Longest record (RFC 8446 §5.2, RFC 5246 §6.2.3), with its header.
const RECORD_BYTES_MAX: usize = 5 + 16_384 + 2_048;
/// Longest message of a handshake that the library takes, which is in memory as a whole.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Most that is read at once: two records, so that one system call serves for a full one, whatever came before it.
pub(super) const READ_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// Most that is enciphered at once.
pub(super) const WRITE_BYTES_MAX: usize = 64 * 1024;
/// What ciphers add to that: in TLS 1.2 and 1.3, with header, nonce, type and tag, less than 64 bytes to each record; and what else may have to be said,
/// such as new keys.
const OVERHEAD_BYTES_MAX: usize = 1_024;

/// Buffers that nobody needs for longer than a call.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) incoming: Box<[u8]>,
    pub(super) outgoing: Box<[u8]>,
    pub(super) gathered: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; MESSAGE_BYTES_MAX + READ_BYTES_MAX].into(),
        outgoing: vec![0; WRITE_BYTES_MAX + OVERHEAD_BYTES_MAX].into(),
        gathered: Vec::with_capacity(WRITE_BYTES_MAX),
    });
}

impl Scratch {
    /// Lends this thread's. What `work` calls must not be a stream of TLS itself.
    pub(super) fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        SCRATCH.with_borrow_mut(work)
    }
}

/// The first bytes of `slices`, as many as are enciphered at once: where they are, if they are together, else in `gathered`.
pub(super) fn gather<'a>(slices: &'a [IoSlice<'_>], gathered: &'a mut Vec<u8>) -> &'a [u8] {
    let mut whole = slices.iter().filter(|slice| !slice.is_empty());
    let first = whole.next().map_or(&[][..], |slice| slice);
    if first.len() >= WRITE_BYTES_MAX || whole.next().is_none() {
        return &first[..first.len().min(WRITE_BYTES_MAX)];
    }
    gathered.clear();
    for slice in slices {
        let room = WRITE_BYTES_MAX - gathered.len();
        gathered.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    gathered
}
