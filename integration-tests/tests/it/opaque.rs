//! Connections that are not looked into, carried between real sockets.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Mesh, Proxy, client, eventually, port, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::config::{all, backend_policy, service, service_of};

mod endings;
mod inbound;
mod mutual;
mod passthrough;
mod proxied;
mod sockets;
mod trouble;

const DEADLINE: Duration = Duration::from_secs(30);

/// A sidecar whose application reaches the port of `db` at the address, by what else is published.
async fn sidecar(mesh: &Mesh, documents: &[String], arguments: &[&str]) -> (Proxy, SocketAddr) {
    let documents: Vec<_> = [service("shop", &[])].into_iter().chain(documents.iter().cloned()).collect();
    mesh.publish(&all(&documents));
    let listen = port::free();
    let forward = format!("{listen}=db:80");
    let sidecar = Sidecar::beside("shop").with(&["--forward", &forward]).with(arguments);
    let proxy = Proxy::start(mesh, sidecar).await;
    proxy.ready().await;
    (proxy, listen)
}

/// An application that does the same with every connection. Dropped, it stops listening, and its connections end with it.
struct Talker {
    addr: SocketAddr,
    serve: JoinHandle<()>,
}

impl Talker {
    async fn start<F>(talk: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serve = tokio::spawn(async move {
            let mut talks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                talks.spawn(talk(stream));
            }
        });
        Self { addr, serve }
    }

    /// One that gives back what it gets.
    async fn echo() -> Self {
        Self::start(async |mut stream: TcpStream| {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        })
        .await
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.serve.abort();
    }
}

/// Bytes that are the same for the same seed.
fn chunk(random: &mut fastrand::Rng) -> Vec<u8> {
    std::iter::repeat_with(|| random.u64(..).to_le_bytes()).take(8 * 1024).flatten().collect()
}

/// Sends `chunks` of 64 KiB, then the end, and says what they add up to.
async fn send(mut to: impl AsyncWrite + Unpin, seed: u64, chunks: usize) -> Vec<u8> {
    let (mut random, mut sum) = (fastrand::Rng::with_seed(seed), Context::new(&SHA256));
    for _ in 0..chunks {
        let bytes = chunk(&mut random);
        sum.update(&bytes);
        to.write_all(&bytes).await.unwrap();
    }
    to.shutdown().await.unwrap();
    sum.finish().as_ref().to_vec()
}

/// Reads to the end, and says how much there was and what it adds up to.
async fn receive(mut from: impl AsyncRead + Unpin) -> (usize, Vec<u8>) {
    let (mut sum, mut length) = (Context::new(&SHA256), 0);
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match from.read(&mut bytes).await.unwrap() {
            0 => return (length, sum.finish().as_ref().to_vec()),
            count => {
                length += count;
                sum.update(&bytes[..count]);
            }
        }
    }
}

/// The sum of the samples of a family, of those whose line has all of `labels`.
async fn metric(proxy: &Proxy, family: &str, labels: &[&str]) -> u64 {
    let page = client::page(proxy.metrics, "/metrics").await.expect("it serves metrics").text();
    let samples = page.lines().filter(|line| {
        line.split(['{', ' ']).next() == Some(family) && labels.iter().all(|label| line.contains(label))
    });
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

/// Waits until a counter has a value.
async fn counts(proxy: &Proxy, family: &str, labels: &[&str], wanted: u64) {
    let mut last = 0;
    let what = format!("{family} {labels:?} is {wanted}");
    let found = eventually(DEADLINE, &what, async || {
        last = metric(proxy, family, labels).await;
        (last >= wanted).then_some(last)
    });
    assert_eq!(found.await, wanted, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_streams_come_through_whole_both_ways_at_once() {
    const CHUNKS: usize = 1_600; // 100 MiB
    for workers in ["1", "2"] {
        let app = Talker::start(async |stream: TcpStream| {
            let (read, mut write) = stream.into_split();
            let (sent, (length, received)) = tokio::join!(
                async {
                    let mut sum = Context::new(&SHA256);
                    let mut random = fastrand::Rng::with_seed(2);
                    for _ in 0..CHUNKS {
                        let bytes = chunk(&mut random);
                        sum.update(&bytes);
                        write.write_all(&bytes).await.unwrap();
                    }
                    sum.finish()
                },
                receive(read)
            );
            assert_eq!(length, CHUNKS * 65_536);
            write.write_all(sent.as_ref()).await.unwrap();
            write.write_all(&received).await.unwrap();
        })
        .await;
        let mesh = Mesh::new();
        let documents = [service_of("db", "TCP", &[app.addr])];
        let (proxy, db) = sidecar(&mesh, &documents, &["--workers", workers]).await;
        let stream = TcpStream::connect(db).await.unwrap();
        let (read, write) = stream.into_split();
        let receiving = async {
            let mut read = read;
            let mut sum = Context::new(&SHA256);
            let mut bytes = vec![0; 65_536];
            for _ in 0..CHUNKS {
                read.read_exact(&mut bytes).await.unwrap();
                sum.update(&bytes);
            }
            let mut sums = Vec::new();
            read.read_to_end(&mut sums).await.unwrap();
            (sum.finish(), sums)
        };
        let (sent, (received, sums)) = tokio::join!(send(write, 1, CHUNKS), receiving);
        assert_eq!(sums, [received.as_ref(), &sent].concat(), "what came is what was sent, both ways");
        counts(&proxy, "outrigger_connections_total", &["cluster=\"default/db:80\"", "end=\"done\""], 1)
            .await;
        let carried = (CHUNKS * 65_536) as u64;
        counts(&proxy, "outrigger_connection_bytes_total", &["way=\"up\""], carried).await;
        counts(&proxy, "outrigger_connection_bytes_total", &["way=\"down\""], carried + 64).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_said_everything_can_still_listen() {
    let app = Talker::start(async |mut stream: TcpStream| {
        let mut question = String::new();
        stream.read_to_string(&mut question).await.unwrap();
        stream.write_all(format!("{question}? 42").as_bytes()).await.unwrap();
    })
    .await;
    let mesh = Mesh::new();
    let (_proxy, db) = sidecar(&mesh, &[service_of("db", "TCP", &[app.addr])], &[]).await;
    let mut stream = TcpStream::connect(db).await.unwrap();
    stream.write_all(b"what").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    within(DEADLINE, "an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "what? 42");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_speak_first() {
    let app = Talker::start(async |mut stream: TcpStream| {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let mut command = [0; 6];
        while stream.read_exact(&mut command).await.is_ok() {
            stream.write_all(b"250 ok\r\n").await.unwrap();
        }
    })
    .await;
    let mesh = Mesh::new();
    // By a protocol of TLS, too: without routes nobody waits for what the client says.
    for protocol in ["TCP", "TLS"] {
        let (_proxy, db) = sidecar(&mesh, &[service_of("db", protocol, &[app.addr])], &[]).await;
        let mut stream = TcpStream::connect(db).await.unwrap();
        let mut greeting = [0; 11];
        within(DEADLINE, "a greeting", stream.read_exact(&mut greeting)).await.unwrap();
        assert_eq!(&greeting, b"220 ready\r\n", "{protocol}");
        for _ in 0..3 {
            stream.write_all(b"NOOP\r\n").await.unwrap();
            let mut answer = [0; 8];
            within(DEADLINE, "an answer", stream.read_exact(&mut answer)).await.unwrap();
            assert_eq!(&answer, b"250 ok\r\n");
        }
    }
}

/// A `TCPRoute` or `TLSRoute` of `db`.
fn connection_route(kind: &str, name: &str, hostnames: &[&str], backends: &[(&str, u32)]) -> String {
    let listed: Vec<_> = backends
        .iter()
        .map(|(name, weight)| format!("{{name: {name}, port: 80, weight: {weight}}}"))
        .collect();
    let hosts = match hostnames {
        [] => String::new(),
        hosts => format!("\n  hostnames: ['{}']", hosts.join("', '")),
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: db}}]{hosts}\n  rules: [{{backendRefs: [{}]}}]",
        listed.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_shares_connections_out_by_weight() {
    let talker = |said: &'static [u8]| {
        Talker::start(async move |mut stream: TcpStream| stream.write_all(said).await.unwrap())
    };
    let (old, new) = (talker(b"old").await, talker(b"new").await);
    let mesh = Mesh::new();
    let documents = [
        service_of("db", "TCP", &[]),
        service_of("old", "TCP", &[old.addr]),
        service_of("new", "TCP", &[new.addr]),
        connection_route("TCPRoute", "db", &[], &[("old", 3), ("new", 1)]),
    ];
    let (proxy, db) = sidecar(&mesh, &documents, &[]).await;
    let mut news = 0;
    for _ in 0..200 {
        let mut stream = TcpStream::connect(db).await.unwrap();
        let mut said = String::new();
        within(DEADLINE, "an answer", stream.read_to_string(&mut said)).await.unwrap();
        news += u32::from(said == "new");
    }
    assert!((20..=90).contains(&news), "{news} of 200 went where a quarter should");
    let rule = "rule=\"default/db#0\"";
    counts(&proxy, "outrigger_connections_total", &[rule], 200).await;
    counts(&proxy, "outrigger_connections_total", &[rule, "cluster=\"default/new:80\""], news.into()).await;
}
