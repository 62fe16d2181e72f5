//! HTTP/2 in hand-made frames (RFC 9113): for what no HTTP/2 library would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::ANSWER_MAX;
use crate::wait::within;

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A piece of a body.
pub const DATA: u8 = 0;
/// The beginning of a field block.
pub const HEADERS: u8 = 1;
/// The end of one stream.
pub const RST_STREAM: u8 = 3;
/// What a side allows.
pub const SETTINGS: u8 = 4;
/// A question whether the other side lives.
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// More of a field block.
pub const CONTINUATION: u8 = 9;

/// The last frame of a stream.
pub const END_STREAM: u8 = 1;
/// Of SETTINGS and PING: the answer to one.
pub const ACK: u8 = 1;
/// The last frame of a field block.
pub const END_HEADERS: u8 = 4;

/// Error code: the rules were broken.
pub const PROTOCOL_ERROR: u32 = 1;
/// Error code: nothing was done for this stream.
pub const REFUSED_STREAM: u32 = 7;
/// Error code: nobody wants the stream any more.
pub const CANCEL: u32 = 8;
/// Error code: the peer asks for too much.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// How to read it.
    pub flags: u8,
    /// Whose it is; 0 is the connection.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame with these bytes.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self { kind, flags, stream, payload: payload.to_vec() }
    }

    /// HEADERS with a whole field block.
    pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        Self::new(HEADERS, flags | END_HEADERS, stream, &block(fields))
    }

    /// A GET without a body.
    pub fn get(stream: u32, authority: &str, path: &str) -> Self {
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", path)];
        Self::headers(stream, END_STREAM, &fields)
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a test's frame is small");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let four = self.payload.get(at..at + 4).and_then(|four| four.try_into().ok());
        four.map_or(u32::MAX, u32::from_be_bytes)
    }

    /// The status in a response's HEADERS, if it is one of those with an index of their own (RFC 7541 appendix A).
    pub fn status(&self) -> Option<u16> {
        // Changes of the table's size may come first.
        let first = self.payload.iter().find(|byte| **byte & 0xe0 != 0x20)?;
        let indexed = [200, 204, 206, 304, 400, 404, 500];
        indexed.get(usize::from(first.checked_sub(0x88)?)).copied()
    }
}

/// A field block of literals that nobody has to remember (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 §5.1, with a prefix of 7 bits.
fn push_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response: the status if it has an index of its own, and the body.
    Answered(Option<u16>, String),
    /// RST_STREAM with this code.
    Reset(u32),
    /// The connection ended, after a GOAWAY with this code if there was one.
    Gone(Option<u32>),
}

/// A client's connection. It answers PING, so that it counts as alive.
#[derive(Debug)]
pub struct Http2 {
    stream: TcpStream,
    goaway: Option<u32>,
}

impl Http2 {
    /// Connects, and sends the preface and empty SETTINGS.
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the proxy listens");
        let mut http2 = Self { stream, goaway: None };
        let settings = Frame::new(SETTINGS, 0, 0, b"").bytes();
        assert!(http2.write(&[PREFACE, &settings].concat()).await, "the preface is taken");
        http2
    }

    /// Sends frames; whether the connection took them.
    pub async fn send(&mut self, frames: &[Frame]) -> bool {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        self.write(&bytes).await
    }

    /// Sends bytes; whether the connection took them.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame, nothing if the connection ended.
    pub async fn next(&mut self) -> Option<Frame> {
        let frame = within(ANSWER_MAX, "another frame, or the end", read(&mut self.stream)).await?;
        if frame.kind == PING && frame.flags & ACK == 0 {
            self.send(&[Frame::new(PING, ACK, 0, &frame.payload)]).await;
        }
        if frame.kind == GOAWAY {
            self.goaway = Some(frame.code());
        }
        Some(frame)
    }

    /// Reads until a frame of this kind has come.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection ended before such a frame came");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads until a stream has an outcome.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (None, Vec::new());
        while let Some(frame) = self.next().await {
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if status.is_none() => status = frame.status(),
                DATA => body.extend(&frame.payload),
                RST_STREAM => return Outcome::Reset(frame.code()),
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Outcome::Answered(status, String::from_utf8_lossy(&body).into_owned());
            }
        }
        Outcome::Gone(self.goaway)
    }

    /// Reads until the connection ends; the code of the GOAWAY if there was one.
    pub async fn end(&mut self) -> Option<u32> {
        while self.next().await.is_some() {}
        self.goaway
    }
}

/// An application that answers each request head over HTTP/2 with frames of the test's. Dropped, it stops listening.
#[derive(Debug)]
pub struct FrameApp {
    /// Where it listens.
    pub addr: SocketAddr,
    came: Arc<Came>,
    serve: tokio::task::JoinHandle<()>,
}

/// What has come to it.
#[derive(Debug, Default)]
struct Came {
    requests: AtomicU32,
    resets: AtomicU32,
}

impl FrameApp {
    /// Starts one on a free port. `answer` is given the number of the request, from 0, and its stream.
    pub async fn start(answer: impl Fn(u32, u32) -> Vec<Frame> + Send + Sync + 'static) -> Self {
        Self::start_slow(Duration::ZERO, answer).await
    }

    /// The same, with each frame of an answer but the first sent so long after the one before.
    pub async fn start_slow(
        pause: Duration,
        answer: impl Fn(u32, u32) -> Vec<Frame> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let (answer, came) = (Arc::new(answer), Arc::<Came>::default());
        let counted = Arc::clone(&came);
        let serve = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (answer, came) = (Arc::clone(&answer), Arc::clone(&counted));
                tokio::spawn(async move {
                    let answer = |stream| answer(came.requests.fetch_add(1, Ordering::Relaxed), stream);
                    converse(stream, pause, &came, answer).await
                });
            }
        });
        Self { addr, came, serve }
    }

    /// Requests so far.
    pub fn requests(&self) -> u32 {
        self.came.requests.load(Ordering::Relaxed)
    }

    /// Streams that whoever asked has reset so far.
    pub fn resets(&self) -> u32 {
        self.came.resets.load(Ordering::Relaxed)
    }
}

impl Drop for FrameApp {
    fn drop(&mut self) {
        self.serve.abort();
    }
}

/// Until the connection ends.
async fn converse(
    mut stream: TcpStream,
    pause: Duration,
    came: &Came,
    answer: impl Fn(u32) -> Vec<Frame>,
) -> Option<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await.ok()?;
    stream.write_all(&Frame::new(SETTINGS, 0, 0, b"").bytes()).await.ok()?;
    loop {
        let frame = read(&mut stream).await?;
        came.resets.fetch_add(u32::from(frame.kind == RST_STREAM), Ordering::Relaxed);
        if frame.kind != HEADERS {
            continue;
        }
        let frames = answer(frame.stream);
        if pause.is_zero() {
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
            stream.write_all(&bytes).await.ok()?;
            continue;
        }
        for (number, frame) in frames.iter().enumerate() {
            if number > 0 {
                tokio::time::sleep(pause).await;
            }
            stream.write_all(&frame.bytes()).await.ok()?;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.ok()?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], flags: head[4], stream: id, payload })
}
