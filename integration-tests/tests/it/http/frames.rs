//! HTTP/2 that no library would send, and how far its damage reaches.

use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, HEADERS, Http2, Outcome,
    PING, PREFACE, PROTOCOL_ERROR, RST_STREAM, SETTINGS, block,
};
use outrigger_integration_tests::{client, within};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Fixture, fixture};

/// Until a connection that broke the rules has ended.
const ENDED_MAX: Duration = Duration::from_secs(10);

/// The four fields that begin a request.
fn pseudo<'a>(
    method: &'a str,
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
}

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&pseudo("GET", "http", "cart", "/")[..], more].concat()
}

async fn serves_others(mesh: &Fixture) {
    let answer = client::fetch(mesh.shop.outbound, "cart", "/").await;
    assert!(answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::OK), "{answer:?}");
}

/// Sends what may be refused half-way, and reads to the end: the code of the GOAWAY.
async fn flooded(mesh: &Fixture, frames: &[Frame]) -> Option<u32> {
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    http2.send(frames).await;
    let ended = within(ENDED_MAX, "the connection ends", http2.end()).await;
    serves_others(mesh).await;
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_must_not_pass_on_is_refused_and_its_neighbours_go_on() {
    let mesh = fixture().await;
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    let refused: &[(&str, Vec<(&str, &str)>)] = &[
        ("another host", with(&[("host", "cart2")])),
        ("two hosts", with(&[("host", "cart"), ("host", "cart")])),
        ("user information", pseudo("GET", "http", "u@cart", "/")),
        ("another scheme", pseudo("GET", "ftp", "cart", "/")),
        ("a star", pseudo("GET", "http", "cart", "*")),
    ];
    for (index, (what, fields)) in refused.iter().enumerate() {
        let stream = 4 * index as u32 + 1;
        http2.send(&[Frame::headers(stream, END_STREAM, fields), Frame::get(stream + 2, "cart", "/")]).await;
        match http2.outcome(stream).await {
            Outcome::Answered(Some(400), body) => {
                assert!(body.starts_with("malformed_request"), "{what}: {body}")
            }
            other => panic!("{what}: {other:?}"),
        }
        assert!(matches!(http2.outcome(stream + 2).await, Outcome::Answered(Some(200), _)), "{what}");
    }
    assert_eq!(mesh.app.requests(), refused.len() as u64, "the neighbours alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_the_rules_is_reset_alone() {
    let mesh = fixture().await;
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    let post =
        |more: &[(&'static str, &'static str)]| [&pseudo("POST", "http", "cart", "/echo")[..], more].concat();
    let reset: &[(&str, Vec<Frame>)] = &[
        ("a coding", vec![Frame::headers(0, END_STREAM, &with(&[("te", "gzip")]))]),
        ("connection", vec![Frame::headers(0, END_STREAM, &with(&[("connection", "close")]))]),
        ("upgrade", vec![Frame::headers(0, END_STREAM, &with(&[("upgrade", "websocket")]))]),
        (
            "transfer-encoding",
            vec![Frame::headers(0, END_STREAM, &with(&[("transfer-encoding", "chunked")]))],
        ),
        ("no path", vec![Frame::headers(0, END_STREAM, &with(&[])[..3])]),
        ("an empty path", vec![Frame::headers(0, END_STREAM, &pseudo("GET", "http", "cart", ""))]),
        ("two methods", vec![Frame::headers(0, END_STREAM, &with(&[(":method", "GET")]))]),
        ("a response's field", vec![Frame::headers(0, END_STREAM, &with(&[(":status", "200")]))]),
        (
            "a body longer than its length",
            vec![
                Frame::headers(0, 0, &post(&[("content-length", "2")])),
                Frame::new(DATA, END_STREAM, 0, b"abc"),
            ],
        ),
        (
            "a body shorter than its length",
            vec![
                Frame::headers(0, 0, &post(&[("content-length", "4")])),
                Frame::new(DATA, END_STREAM, 0, b"abc"),
            ],
        ),
        (
            "two lengths",
            vec![
                Frame::headers(0, 0, &post(&[("content-length", "3"), ("content-length", "4")])),
                Frame::new(DATA, END_STREAM, 0, b"abc"),
            ],
        ),
    ];
    for (index, (what, frames)) in reset.iter().enumerate() {
        let stream = 4 * index as u32 + 1;
        let mut frames = frames.clone();
        frames.iter_mut().for_each(|frame| frame.stream = stream);
        http2.send(&frames).await;
        http2.send(&[Frame::get(stream + 2, "cart", "/")]).await;
        assert_eq!(http2.outcome(stream).await, Outcome::Reset(PROTOCOL_ERROR), "{what}");
        assert!(matches!(http2.outcome(stream + 2).await, Outcome::Answered(Some(200), _)), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_http1_could_not_carry_ends_the_connection() {
    let mesh = fixture().await;
    for (what, field) in [
        ("a line end", ("x-a", "1\r\nx-b: 2")),
        ("a line feed", ("x-a", "1\n2")),
        ("a NUL", ("x-a", "1\0")),
        ("upper case", ("X-A", "1")),
        ("a blank in a name", ("x a", "1")),
    ] {
        let ended = flooded(&mesh, &[Frame::headers(1, END_STREAM, &with(&[field]))]).await;
        assert_eq!(ended, Some(PROTOCOL_ERROR), "{what}");
    }
    assert_eq!(mesh.app.requests(), 5, "the others alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_leave_without_outer_blanks_and_cookies_as_one() {
    let mesh = fixture().await;
    for (version, authority) in [("HTTP/1.1", "cart"), ("HTTP/2.0", "cart2")] {
        let mut http2 = Http2::open(mesh.shop.outbound).await;
        let fields = [("x-padded", " \tone two\t "), ("cookie", "a=1"), ("cookie", "b=2"), ("x-blank", "  ")];
        let fields = [&pseudo("GET", "http", authority, "/")[..], &fields].concat();
        http2.send(&[Frame::headers(1, END_STREAM, &fields)]).await;
        assert!(matches!(http2.outcome(1).await, Outcome::Answered(Some(200), _)), "{version}");
        let seen = mesh.app.last().expect("it was called");
        assert_eq!(format!("{:?}", seen.version), version);
        assert_eq!(seen.headers["x-padded"], "one two");
        assert_eq!(seen.headers["x-blank"], "");
        assert_eq!(seen.headers["cookie"], "a=1; b=2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused() {
    let mesh = fixture().await;
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    let connect = [(":method", "CONNECT"), (":authority", "cart:80")];
    http2.send(&[Frame::get(1, "cart", "/slow/300"), Frame::headers(3, 0, &connect)]).await;
    let refused = http2.outcome(3).await;
    assert!(
        matches!(&refused, Outcome::Answered(_, body) if body.starts_with("connect_unsupported")),
        "{refused:?}"
    );
    assert!(matches!(http2.outcome(1).await, Outcome::Answered(Some(200), _)), "its neighbour goes on");

    for length in ["", "content-length: 5\r\n", "transfer-encoding: chunked\r\n"] {
        let head = format!("CONNECT cart:80 HTTP/1.1\r\nhost: cart:80\r\n{length}\r\nhello");
        let answer = client::raw(mesh.shop.outbound, head.as_bytes(), ENDED_MAX).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 501 "), "{length:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{length:?}: the connection ends: {answer:?}");
    }
    assert_eq!(mesh.app.requests(), 1);
}

/// As docs/HTTP.md says: the codec takes it for the end of the connection.
#[tokio::test(flavor = "multi_thread")]
async fn connect_with_a_length_takes_its_connection_with_it() {
    let mesh = fixture().await;
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    let connect = [(":method", "CONNECT"), (":authority", "cart:80"), ("content-length", "5")];
    http2.send(&[Frame::get(1, "cart", "/never"), Frame::headers(3, 0, &connect)]).await;
    assert!(matches!(within(ENDED_MAX, "the end", http2.outcome(1)).await, Outcome::Gone(_)));
    serves_others(&mesh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_beyond_its_size_is_refused_alone() {
    let mesh = fixture().await;
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    let large = "x".repeat(12_000);
    let begin = Frame::new(HEADERS, END_STREAM, 1, &block(&with(&[("x-0", &large)])));
    let mut more = vec![Frame::new(CONTINUATION, 0, 1, &block(&[("x-1", &large)])); 6];
    more[5].flags = END_HEADERS;
    http2.send(&[&[begin], &more[..], &[Frame::get(3, "cart", "/")]].concat()).await;
    // 431 has no index of its own.
    let refused = http2.outcome(1).await;
    assert_eq!(refused, Outcome::Answered(None, String::new()));
    assert!(matches!(http2.outcome(3).await, Outcome::Answered(Some(200), _)), "its neighbour goes on");
    assert_eq!(mesh.app.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_ends_its_connection_alone() {
    let mesh = fixture().await;
    let cancel = CANCEL.to_be_bytes();
    let frames: Vec<Frame> = (0..4_000)
        .map(|index| 2 * index + 1)
        .flat_map(|stream| [Frame::get(stream, "cart", "/never"), Frame::new(RST_STREAM, 0, stream, &cancel)])
        .collect();
    assert_eq!(flooded(&mesh, &frames).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_their_connection_alone() {
    let mesh = fixture().await;
    let begin = Frame::new(HEADERS, END_STREAM, 1, &block(&with(&[])));
    let empty = vec![Frame::new(CONTINUATION, 0, 1, b""); 20_000];
    let large = vec![Frame::new(CONTINUATION, 0, 1, &block(&[("x-a", &"a".repeat(16_000))])); 2_000];
    let data = vec![Frame::new(DATA, 0, 1, b""); 20_000];
    for (what, first, flood) in [
        ("empty CONTINUATION", &begin, empty),
        ("large CONTINUATION", &begin, large),
        ("empty DATA", &Frame::headers(1, 0, &pseudo("POST", "http", "cart", "/echo")), data),
    ] {
        let before = mesh.shop.process.resident_kib();
        let ended = flooded(&mesh, &[std::slice::from_ref(first), &flood].concat()).await;
        assert_eq!(ended, Some(ENHANCE_YOUR_CALM), "{what}");
        let grown = mesh.shop.process.resident_kib().saturating_sub(before);
        assert!(grown < 8 * 1024, "{what}: {grown} KiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_frames_are_answered_as_fast_as_they_are_read() {
    let mesh = fixture().await;
    for kind in [PING, SETTINGS] {
        let payload: &[u8] = if kind == PING { b"are you?" } else { b"" };
        let burst: Vec<u8> = (0..1_000).flat_map(|_| Frame::new(kind, 0, 0, payload).bytes()).collect();
        let mut stream = TcpStream::connect(mesh.shop.outbound).await.unwrap();
        stream.write_all(&[PREFACE, &Frame::new(SETTINGS, 0, 0, b"").bytes()].concat()).await.unwrap();
        let before = mesh.shop.process.resident_kib();
        // Nobody reads the answers: in the end nothing more is taken, long before this many.
        let mut taken = 0;
        while let Ok(written) =
            tokio::time::timeout(Duration::from_millis(500), stream.write_all(&burst)).await
        {
            written.unwrap();
            taken += 1;
            assert!(taken < 10_000, "{kind}: {taken} bursts were taken");
        }
        assert!(taken >= 20, "{kind}: {taken} bursts");
        serves_others(&mesh).await;
        let grown = mesh.shop.process.resident_kib().saturating_sub(before);
        assert!(grown < 8 * 1024, "{kind}: {grown} KiB after {taken} bursts");
    }
}
