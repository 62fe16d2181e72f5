//! Waiting for a ClientHello. What is read of it is handed on with all that follows.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::{End, Refusal};
use crate::clock;
use crate::detect::client_hello::{self, ClientHello, HELLO_BYTES_MAX, Opening};
use crate::sweep::Timer;
use crate::worker::Worker;

/// Read at once, in bytes: most of them are no longer.
const READ_BYTES: usize = 2 * 1024;

/// Reads until there is a whole ClientHello, for as long as a request head may take.
pub(super) async fn hello(worker: &Worker, stream: &mut impl End) -> Result<(ClientHello, Bytes), Refusal> {
    let due_ns = clock::now_ns().saturating_add(worker.limits.head_ns);
    let mut timer = Timer::new(&worker.sweep);
    let mut read = BytesMut::new();
    loop {
        match client_hello::read(&read) {
            Opening::Hello(hello) => return Ok((hello, read.freeze())),
            Opening::NotTls => return Err(Refusal::NotTls),
            Opening::Malformed(error) => return Err(Refusal::ClientHello(error)),
            Opening::NeedMore => {}
        }
        let begin = read.len();
        read.resize((begin + READ_BYTES).min(HELLO_BYTES_MAX), 0);
        let count = poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut read[begin..]);
            if let Poll::Ready(result) = Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                return Poll::Ready(result.map_err(|_| Refusal::ClientGone).map(|()| buffer.filled().len()));
            }
            if clock::now_ns() >= due_ns {
                return Poll::Ready(Err(Refusal::HelloTimeout));
            }
            timer.arm(due_ns, context.waker());
            Poll::Pending
        });
        match count.await? {
            0 => return Err(Refusal::ClientGone),
            count => read.truncate(begin + count),
        }
    }
}
