use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SAID: &[u8] = b"what is said";

/// A collector that answers with these statuses in turn, and what `tell` has come to with it; how many times it was asked.
async fn told(statuses: &'static [&'static str]) -> (Result<(), String>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let mut asked = 0;
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(SAID) {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "it is told all");
            }
            let head = String::from_utf8_lossy(&read).to_lowercase();
            assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
            assert!(head.contains("\r\nx-key: secret\r\n"), "{head}");
            asked += 1;
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    let to = Otlp {
        endpoint,
        protocol: OtlpProtocol::Http,
        ca_file: None,
        client: None,
        service_name: None,
        headers: HeaderMap::from_iter([(http::HeaderName::from_static("x-key"), "secret".parse().unwrap())]),
        timeout: Duration::from_secs(30),
    };
    let told = Collector::new(&to, "/").unwrap().tell(SAID.to_vec()).await;
    (told.map_err(|untold| untold.to_string()), answering.await.unwrap())
}

#[tokio::test]
async fn who_cannot_take_it_just_then_is_told_again() {
    assert_eq!(told(&["503 Busy", "429 Slower", "200 OK"]).await, (Ok(()), 3));
    let (refused, asked) = told(&["400 Bad Request"]).await;
    assert_eq!((refused.unwrap_err().as_str(), asked), ("it answers with status 400 Bad Request", 1));
}

#[tokio::test]
async fn a_redirect_is_a_refusal_that_says_where_to() {
    // Someone who is sent there would get an answer: that of the first is not the last.
    let statuses: [(&'static [&'static str], &str); 3] = [
        (&["301 Moved\r\nlocation: /login?token=hush"], "/login"),
        (
            &["307 Moved\r\nlocation: https://user:hush@other.test/v1/traces#hush"],
            "https://other.test/v1/traces",
        ),
        (&["302 Found"], "302 Found"),
    ];
    for (statuses, to) in statuses {
        let (refused, asked) = told(statuses).await;
        let why = refused.unwrap_err();
        assert!(why.contains(to) && !why.contains("hush") && !why.contains("reached"), "{why}");
        assert_eq!(asked, 1);
    }
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_the_settings_say() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for protocol in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
        let to = Otlp {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            protocol,
            ca_file: None,
            client: None,
            service_name: None,
            headers: HeaderMap::new(),
            timeout: Duration::from_millis(50),
        };
        let untold = Collector::new(&to, "/service/Method").unwrap().tell(SAID.to_vec()).await.unwrap_err();
        assert_eq!(untold.to_string(), "it has not answered within 50ms");
    }
}
