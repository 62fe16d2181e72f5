//! HTTP/1.1 connections on which nothing is said for a while, and which go on where they were.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixture;

/// For longer than a connection keeps what it only needs to speak.
const LULL: Duration = Duration::from_millis(2_500);

const WHOLE: &str = "GET /whole HTTP/1.1\r\nhost: cart\r\n\r\n";
const POST: &str = "POST /echo HTTP/1.1\r\nhost: cart\r\ncontent-length: 11\r\n\r\n";

/// Says the pieces with a lull before each, and gives back everything that is answered before the connection ends or is silent.
async fn talk(stream: &mut TcpStream, pieces: &[&str]) -> String {
    for piece in pieces {
        tokio::time::sleep(LULL).await;
        stream.write_all(piece.as_bytes()).await.expect("it is open");
    }
    let mut said = Vec::new();
    while let Ok(Ok(1..)) = tokio::time::timeout(LULL, stream.read_buf(&mut said)).await {}
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_pieces_is_understood_whatever_the_pauses() {
    let mesh = fixture().await;
    let (first, second) = WHOLE.split_at(20);
    let twice = format!("{WHOLE}{first}");
    let cases: [(&[&str], usize, &str); 5] = [
        (&[WHOLE, WHOLE, WHOLE], 3, "a request at a time"),
        (&[first, second, WHOLE], 2, "half a head"),
        (&[&twice, second], 2, "a head and half of the next"),
        (&[POST, "hello ", "world", WHOLE], 2, "half a body"),
        (&[&format!("{WHOLE}{WHOLE}"), WHOLE], 3, "two at once"),
    ];
    let talks = cases.map(|(pieces, answers, what)| async move {
        let mut stream = TcpStream::connect(mesh.shop.outbound).await.expect("it listens");
        let said = talk(&mut stream, pieces).await;
        assert_eq!(said.matches("HTTP/1.1 200 ").count(), answers, "{what}: {said:?}");
        assert!(pieces[0] != POST || said.contains("hello world"), "{what}: {said:?}");
    });
    futures_util::future::join_all(talks).await;
}
