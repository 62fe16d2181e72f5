use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Far beyond every limit of a connection; the clock is the runtime's and doesn't wait.
const FOREVER: Duration = Duration::from_secs(3_600);

/// What an HTTP/2 client says first, with an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn serving() -> (SocketAddr, watch::Sender<bool>) {
    serving_shares(None).await
}

async fn serving_shares(shares: Option<Arc<Places>>) -> (SocketAddr, watch::Sender<bool>) {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), "--listen").await.unwrap();
    let address = listener.address();
    let (stop, stopping) = watch::channel(false);
    let router = Router::new().route("/", get(async || "here"));
    tokio::spawn(listener.serve(None, router, shares, stopping));
    (address, stop)
}

/// Waits until the server has closed `stream`; returns what it sent before.
async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let ended = tokio::time::timeout(FOREVER, stream.read_to_end(&mut said)).await;
    // A reset is an end too.
    let _ended = ended.expect("the connection keeps its place for ever");
    said
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_for_nothing_loses_its_place() {
    let (address, _stop) = serving().await;
    for begun in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", PREFACE, b"GET / HTTP/1.1\r\nhost: here"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        closed(stream).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_used_once_does_not_keep_its_place() {
    let (address, _stop) = serving().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let said = String::from_utf8(closed(stream).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("here"), "{said}");
    // A GET of "/" in HTTP/2, with the static table of RFC 7541: indexed :method, :scheme and :path, then :authority.
    let mut request = PREFACE.to_vec();
    request.extend_from_slice(b"\0\0\x09\x01\x05\0\0\0\x01\x82\x86\x84\x41\x04here");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let said = closed(stream).await;
    assert!(said.windows(4).any(|part| part == b"here"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn silent_connections_do_not_close_the_listener() {
    let (address, _stop) = serving().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
    let said = String::from_utf8(closed(stream).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn one_address_does_not_take_all_places() {
    let shares = Arc::new(Places::default());
    let (address, _stop) = serving_shares(Some(shares.clone())).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let (mut stream, asked) = (other.connect(address).await.unwrap(), tokio::time::Instant::now());
    stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
    let said = String::from_utf8(closed(stream).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(asked.elapsed() < HEAD_MAX, "it waited for the silent ones: {:?}", asked.elapsed());
    assert!(shares.refused() >= CONNECTIONS_MAX as u64 / 2, "{}", shares.refused());
    drop(silent);
}
