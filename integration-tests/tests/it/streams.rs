//! Bodies that are larger than every buffer on the way, and peers that do not take them.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_integration_tests::Proxy;
use outrigger_integration_tests::client::{self, Body};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::http::fixture;

/// For bodies of this size, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const BODY_KIB: usize = 32 * 1024;
/// So much that the socket is what fills up, and not the peer's window.
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// Streams at once: each has a task of its own beside that of the connection.
const STREAMS: usize = 3;

/// An HTTP/2 connection that takes whatever comes.
async fn wide(shop: &Proxy) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(shop.outbound).await.expect("the sidecar listens");
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW_MAX)
        .initial_connection_window_size(WINDOW_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

/// The length of the answer's body.
async fn length(mut sender: http2::SendRequest<Body>, request: Request<Body>) -> usize {
    let response = sender.send_request(request).await.expect("it is answered");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.expect("the body is whole").data_ref().map_or(0, Bytes::len);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_pass_over_http2() {
    let mesh = fixture().await;
    for host in ["cart", "cart2"] {
        let sender = wide(&mesh.shop).await;
        let mut answers = JoinSet::new();
        for _ in 0..STREAMS {
            let request = client::request2(Method::GET, host, &format!("/chunked/{BODY_KIB}"), "");
            answers.spawn(length(sender.clone(), request));
        }
        let lengths = tokio::time::timeout(PATIENCE, answers.join_all()).await;
        assert_eq!(lengths, Ok(vec![BODY_KIB * 1024; STREAMS]), "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_pass_over_http2() {
    let mesh = fixture().await;
    let body = Bytes::from(vec![b'x'; BODY_KIB * 1024]);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut answers = JoinSet::new();
        for _ in 0..STREAMS {
            let request = match version {
                Version::HTTP_2 => client::request2(Method::POST, "cart2", "/", body.clone()),
                _ => client::request(Method::POST, "cart2", "/", body.clone()),
            };
            answers.spawn(client::send(mesh.shop.outbound, request));
        }
        let answers = tokio::time::timeout(PATIENCE, answers.join_all()).await.expect("they are answered");
        for answer in answers {
            assert_eq!(answer.expect("it is whole").json()["body_bytes"], body.len(), "{version:?}");
        }
    }
}
