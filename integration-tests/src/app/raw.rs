//! An application that speaks in bytes: for answers that no HTTP library would give.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request head that is longer than this is not one of ours.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// What happens after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The connection is closed in order: the end of a body of unknown length.
    Close,
    /// The connection is reset.
    Reset,
    /// The connection stays, and the next request gets the same answer.
    Stay,
}

/// Answers each request head with the same bytes. Dropped, it stops listening.
#[derive(Debug)]
pub struct RawApp {
    /// Where it listens.
    pub addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    serve: tokio::task::JoinHandle<()>,
}

impl RawApp {
    /// Starts one on a free port.
    pub async fn start(answer: &[u8], end: End) -> Self {
        Self::start_at(super::ANY, answer, end).await
    }

    /// Starts one on this very address.
    pub async fn start_at(addr: SocketAddr, answer: &[u8], end: End) -> Self {
        let listener = TcpListener::bind(addr).await.expect("the application's address is free");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (answer.to_vec(), Arc::clone(&heads));
        let serve = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, answer.clone(), end, Arc::clone(&seen)));
            }
        });
        Self { addr, heads, serve }
    }

    /// The request heads so far, as they came.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RawApp {
    fn drop(&mut self) {
        self.serve.abort();
    }
}

async fn converse(mut stream: TcpStream, answer: Vec<u8>, end: End, heads: Arc<Mutex<Vec<String>>>) {
    while let Some(head) = read_head(&mut stream).await {
        heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
        match end {
            End::Stay => {}
            End::Reset => {
                // Closing with data unread or with zero linger is what makes the kernel send RST.
                let _ = stream.set_zero_linger();
                return;
            }
            End::Close => {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

/// Up to and with the empty line, or nothing if the connection ended before it.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return None;
        }
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}
