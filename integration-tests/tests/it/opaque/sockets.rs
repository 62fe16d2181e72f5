//! Applications at sockets of the machine.

use tokio::net::{UnixListener, UnixStream};

use super::inbound::{is_reset, service_with};
use super::*;

/// What the application does with every connection at `path`.
fn listen<F>(path: &std::path::Path, talk: impl Fn(UnixStream) -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_reach_an_application_at_a_socket_whole() {
    const CHUNKS: usize = 160; // 10 MiB
    let mesh = Mesh::new();
    let path = mesh.folder().join("db.sock");
    let app = listen(&path, async |mut stream: UnixStream| {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    mesh.publish(&service_of("db", "TCP", &[]));
    let mut proxy = Proxy::start(&mesh, Sidecar::beside("db").inbound_to_socket(&path)).await;
    proxy.ready().await;
    let inbound = proxy.inbound.unwrap();
    let (read, write) = TcpStream::connect(inbound).await.unwrap().into_split();
    let (sent, (length, received)) = tokio::join!(send(write, 5, CHUNKS), receive(read));
    assert_eq!((length, received), (CHUNKS * 65_536, sent));
    app.abort();
    let _ = app.await;
    is_reset(inbound, b"x").await;
    counts(&proxy, "outrigger_connections_refused_total", &["reason=\"connect_failed\""], 1).await;
    assert_eq!(proxy.drain().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_reach_an_application_at_a_socket() {
    let mesh = Mesh::new();
    let path = mesh.folder().join("db.sock");
    let _app = listen(&path, async |stream: UnixStream| {
        let mut stream = tokio::io::BufReader::new(stream);
        let mut line = String::new();
        while tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line).await.is_ok_and(|count| count > 0)
        {
            if line.ends_with("\r\n\r\n") {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.get_mut().write_all(answer).await.unwrap();
                line.clear();
            }
        }
    });
    mesh.publish(&service_with("db", &[(8080, "HTTP")]));
    let proxy = Proxy::start(&mesh, Sidecar::beside("db").inbound_to_socket(&path)).await;
    proxy.ready().await;
    for _ in 0..3 {
        let answer = client::fetch(proxy.inbound.unwrap(), "db", "/").await.unwrap();
        assert_eq!((answer.status, answer.text()), (::http::StatusCode::OK, "ok".to_owned()));
    }
}
