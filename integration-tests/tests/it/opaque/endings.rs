//! How connections end.

use super::*;

const TUNNEL_IDLE: &str = "timeouts: {tunnelIdle: 300ms}";

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_moves_ends() {
    let app = Talker::echo().await;
    let mesh = Mesh::new();
    let documents = [service_of("db", "TCP", &[app.addr]), backend_policy("db", TUNNEL_IDLE)];
    let (proxy, db) = sidecar(&mesh, &documents, &[]).await;
    let mut stream = TcpStream::connect(db).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut said = Vec::new();
    within(DEADLINE, "the end", stream.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"x");
    counts(&proxy, "outrigger_connections_total", &["end=\"idle\""], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_is_passed_on_as_one() {
    let app = Talker::start(async |mut stream: TcpStream| {
        stream.write_all(b"half an answ").await.unwrap();
        stream.read_u8().await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let mesh = Mesh::new();
    let (proxy, db) = sidecar(&mesh, &[service_of("db", "TCP", &[app.addr])], &[]).await;
    let mut stream = TcpStream::connect(db).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    stream.write_all(b"!").await.unwrap();
    let ended = within(DEADLINE, "the end", stream.read_u8()).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    counts(&proxy, "outrigger_connections_total", &["end=\"broken\""], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_connections_and_cuts_them_at_its_deadline() {
    let app = Talker::echo().await;
    let mesh = Mesh::new();
    let documents = [service_of("db", "TCP", &[app.addr])];
    for (finishes, code) in [(true, 0), (false, 1)] {
        let deadline = if finishes { "20s" } else { "4s" };
        let (mut proxy, db) = sidecar(&mesh, &documents, &["--drain-deadline", deadline]).await;
        let mut stream = TcpStream::connect(db).await.unwrap();
        stream.write_all(b"before").await.unwrap();
        stream.read_exact(&mut [0; 6]).await.unwrap();
        proxy.process.terminate();
        // An attempt in the moment of the close is answered when the kernel repeats it, a second later.
        let refused = async || TcpStream::connect(db).await.is_err().then_some(());
        eventually(DEADLINE, "no more connections are taken", refused).await;
        stream.write_all(b"after").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        if finishes {
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        } else {
            let cut = within(DEADLINE, "the cut", stream.read_u8()).await.unwrap_err();
            assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset, "an end would be a lie");
        }
        assert_eq!(proxy.process.ended(DEADLINE).await.code(), Some(code));
    }
}
