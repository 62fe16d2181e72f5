//! An application that breaks off in the way that the path says, and keeps book of what it was given. A request is known by its `x-id`.
//!
//! | path | the first request of an id |
//! |---|---|
//! | `/none` | connection reset before any of the answer |
//! | `/close` | connection closed in order before any of the answer |
//! | `/head` | connection reset in the middle of the head |
//! | `/body` | connection reset in the middle of the body |
//! | `/after` | connection reset right after the answer |
//! | `/busy` | 503 after 20 ms, and so for each further one |
//! | `/hold` | no answer, and so for each further one |
//! | any other | 200 |
//!
//! Further requests of an id get 200. What came as a whole counts as executed, whatever comes of the answer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{ANY, Serving, listen};

/// Longest line of a head or of a chunked body that is read.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Longest body that is kept.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const BUSY: Duration = Duration::from_millis(20);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nx-app: faulty\r\ncontent-length: 20\r\n\r\ntwenty bytes of text";
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
/// Of [`ANSWER`], for one that breaks off in its head.
const WITHIN_HEAD: usize = 30;
/// Of [`ANSWER`], for one that breaks off in its body.
const WITHIN_BODY: usize = ANSWER.len() - 10;

/// One request that was executed.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Its fields, with names in lower case.
    pub fields: HashMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A running one. Dropped, it stops listening.
#[derive(Debug)]
pub struct Faulty {
    /// Where it listens.
    pub addr: SocketAddr,
    book: Arc<Book>,
    _serving: Serving,
}

#[derive(Debug, Default)]
struct Book {
    by_id: Mutex<HashMap<u64, Vec<Execution>>>,
    body_bytes: AtomicU64,
}

impl Faulty {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let book = Arc::<Book>::default();
        let kept = book.clone();
        let (addr, serving) = listen(ANY, move |stream| {
            let book = kept.clone();
            async move {
                // How a connection ends is the business of whoever ended it.
                let _ = converse(stream, &book).await;
            }
        })
        .await;
        Self { addr, book, _serving: serving }
    }

    /// What was executed of this id, in order.
    pub fn executions(&self, id: u64) -> Vec<Execution> {
        self.book.by_id().get(&id).cloned().unwrap_or_default()
    }

    /// How often each id was executed.
    pub fn counts(&self) -> HashMap<u64, usize> {
        self.book.by_id().iter().map(|(id, executions)| (*id, executions.len())).collect()
    }

    /// Bytes of bodies that have come, of whole requests or not.
    pub fn body_bytes(&self) -> u64 {
        self.book.body_bytes.load(Relaxed)
    }
}

impl Book {
    fn by_id(&self) -> MutexGuard<'_, HashMap<u64, Vec<Execution>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an execution; whether it is the first of its id.
    fn note(&self, execution: Execution) -> bool {
        let id = execution.fields.get("x-id").and_then(|id| id.parse().ok()).unwrap_or_default();
        let mut by_id = self.by_id();
        let executions = by_id.entry(id).or_default();
        executions.push(execution);
        executions.len() == 1
    }
}

async fn converse(stream: TcpStream, book: &Book) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (target, fields) = head(&mut stream).await?;
        let body = body(&mut stream, &fields, book).await?;
        let first = book.note(Execution { fields, body });
        let stream = stream.get_mut();
        let sent = match (target.as_str(), first) {
            ("/hold", _) => std::future::pending().await,
            ("/busy", _) => {
                tokio::time::sleep(BUSY).await;
                stream.write_all(UNAVAILABLE).await?;
                continue;
            }
            ("/close", true) => return stream.shutdown().await,
            ("/none", true) => 0,
            ("/head", true) => WITHIN_HEAD,
            ("/body", true) => WITHIN_BODY,
            _ => ANSWER.len(),
        };
        stream.write_all(&ANSWER[..sent]).await?;
        if sent < ANSWER.len() || (target == "/after" && first) {
            // Without lingering, a connection is reset when it is dropped.
            return stream.set_zero_linger();
        }
    }
}

/// The target and the fields of the next request.
async fn head(stream: &mut BufReader<TcpStream>) -> io::Result<(String, HashMap<String, String>)> {
    let first = line(stream).await?;
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut fields = HashMap::new();
    loop {
        let field = line(stream).await?;
        if field.is_empty() {
            return Ok((target, fields));
        }
        if let Some((name, value)) = field.split_once(':') {
            fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

async fn body(
    stream: &mut BufReader<TcpStream>,
    fields: &HashMap<String, String>,
    book: &Book,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if !fields.contains_key("transfer-encoding") {
        let length = fields.get("content-length").map_or(Ok(0), |length| length.parse());
        read(stream, length.map_err(io::Error::other)?, &mut body, book).await?;
        return Ok(body);
    }
    loop {
        let length = usize::from_str_radix(&line(stream).await?, 16).map_err(io::Error::other)?;
        read(stream, length, &mut body, book).await?;
        line(stream).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}

async fn read(
    stream: &mut BufReader<TcpStream>,
    length: usize,
    body: &mut Vec<u8>,
    book: &Book,
) -> io::Result<()> {
    let whole = body.len() + length;
    if whole > BODY_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    while body.len() < whole {
        let count = (&mut *stream).take((whole - body.len()) as u64).read_buf(body).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        book.body_bytes.fetch_add(count as u64, Relaxed);
    }
    Ok(())
}

async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
