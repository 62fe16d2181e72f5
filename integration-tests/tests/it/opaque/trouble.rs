//! Endpoints that cannot be reached, and limits.

use super::*;

async fn answers(db: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(db).await?;
    stream.write_all(b"x").await?;
    Ok(within(DEADLINE, "an answer", stream.read_u8()).await? == b'x')
}

/// A connection that is accepted and then reset, which the client may find out while it still connects.
async fn is_refused(db: SocketAddr) -> bool {
    let refused = async { TcpStream::connect(db).await?.read_u8().await };
    let ended = within(DEADLINE, "a refusal", refused).await;
    ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_reached_costs_no_connection_and_is_ejected() {
    let app = Talker::echo().await;
    let mesh = Mesh::new();
    let documents = [
        service_of("db", "TCP", &[app.addr, port::free()]),
        backend_policy("db", "ejection: {consecutiveLocal: 1}"),
    ];
    let (proxy, db) = sidecar(&mesh, &documents, &[]).await;
    for _ in 0..60 {
        assert!(answers(db).await.unwrap());
    }
    assert!(metric(&proxy, "outrigger_connection_retries_total", &[]).await >= 1);
    assert!(metric(&proxy, "outrigger_ejections_total", &["cluster=\"default/db:80\""]).await >= 1);
    assert_eq!(metric(&proxy, "outrigger_connections_refused_total", &[]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_connection_comes_about_the_client_is_told_so() {
    let unrouted = [
        service_of("db", "TCP", &[]),
        service_of("other", "TCP", &[]),
        connection_route("TCPRoute", "db", &[], &[("other", 0)]),
    ];
    for (documents, reason) in [
        (&[service_of("db", "TCP", &[port::free()])][..], "connect_failed"),
        (&[service_of("db", "TCP", &[])], "no_endpoint"),
        (&[service_of("db", "HTTP", &[])], "no_port"),
        (&unrouted, "no_backend"),
    ] {
        let mesh = Mesh::new();
        let (proxy, db) = sidecar(&mesh, documents, &[]).await;
        assert!(is_refused(db).await, "{reason}");
        let labels = [format!("reason=\"{reason}\"")];
        counts(&proxy, "outrigger_connections_refused_total", &[&labels[0]], 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_connections() {
    for (limit, reason) in [("connections: 2", "limit_connections"), ("requests: 2", "limit_requests")] {
        let app = Talker::echo().await;
        let mesh = Mesh::new();
        let documents =
            [service_of("db", "TCP", &[app.addr]), backend_policy("db", &format!("limits: {{{limit}}}"))];
        let (proxy, db) = sidecar(&mesh, &documents, &[]).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(db).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.read_u8().await.unwrap();
            held.push(stream);
        }
        assert!(is_refused(db).await, "{limit}");
        let labels = [format!("reason=\"{reason}\"")];
        counts(&proxy, "outrigger_connections_refused_total", &[&labels[0]], 1).await;
        drop(held);
        counts(&proxy, "outrigger_connections_total", &[], 2).await;
        assert!(answers(db).await.unwrap(), "there is room again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_outlive_the_plan() {
    let (first, second) = (Talker::echo().await, Talker::echo().await);
    let mesh = Mesh::new();
    let (_proxy, db) = sidecar(&mesh, &[service_of("db", "TCP", &[first.addr])], &[]).await;
    let mut stream = TcpStream::connect(db).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.read_u8().await.unwrap();
    let talks = Talker::start(async |mut stream: TcpStream| stream.write_all(b"new").await.unwrap()).await;
    mesh.publish(&all(&[service("shop", &[]), service_of("db", "TCP", &[talks.addr, second.addr])]));
    let moved = async || {
        let mut other = TcpStream::connect(db).await.ok()?;
        let mut said = [0; 3];
        let read = tokio::time::timeout(Duration::from_millis(100), other.read_exact(&mut said)).await;
        (read.is_ok() && &said == b"new").then_some(())
    };
    eventually(DEADLINE, "new connections go where the new plan says", moved).await;
    stream.write_all(b"y").await.unwrap();
    assert_eq!(within(DEADLINE, "an answer", stream.read_u8()).await.unwrap(), b'y');
}
