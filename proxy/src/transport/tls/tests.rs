//! Against the library's other interface, as it is driven by `tokio-rustls`.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

type Ours = Box<TlsStream<DuplexStream>>;

/// Configurations that believe each other.
fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["cart.test".to_owned()]).unwrap();
    let chain = vec![made.cert.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let client = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
    let server = ServerConfig::builder_with_protocol_versions(&[version]).with_no_client_auth();
    let mut client = client.with_no_client_auth();
    let mut server = server.with_single_cert(chain, key).unwrap();
    client.alpn_protocols = vec![b"h2".to_vec()];
    server.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    (client.into(), server.into())
}

fn name() -> ServerName<'static> {
    ServerName::try_from("cart.test").unwrap()
}

async fn answer(io: DuplexStream, config: Arc<ServerConfig>) -> Ours {
    let greeting = Greeting::read(io).await.unwrap();
    assert_eq!(greeting.hello().server_name(), Some("cart.test"));
    greeting.answer(config).await.unwrap()
}

/// A server has no part in a conversation until its tickets have left, for which there must be room.
fn without_tickets(mut server: Arc<ServerConfig>, pipe: usize) -> Arc<ServerConfig> {
    if pipe < 1_000 {
        Arc::make_mut(&mut server).send_tls13_tickets = 0;
    }
    server
}

/// Our server and the library's client, over a pipe that holds `pipe` bytes.
async fn as_server(
    version: &'static SupportedProtocolVersion,
    pipe: usize,
) -> (Ours, tokio_rustls::client::TlsStream<DuplexStream>) {
    let (client, server) = configs(version);
    let server = without_tickets(server, pipe);
    let (near, far) = duplex(pipe);
    let theirs = TlsConnector::from(client).connect(name(), far);
    let (ours, theirs) = tokio::join!(answer(near, server), theirs);
    (ours, theirs.unwrap())
}

/// Our client and the library's server.
async fn as_client(
    version: &'static SupportedProtocolVersion,
    pipe: usize,
) -> (Ours, tokio_rustls::server::TlsStream<DuplexStream>) {
    let (client, server) = configs(version);
    let server = without_tickets(server, pipe);
    let (near, far) = duplex(pipe);
    let (ours, theirs) = tokio::join!(call(near, client, name()), TlsAcceptor::from(server).accept(far));
    (ours.unwrap(), theirs.unwrap())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// Sends `length` bytes each way at the same time, in pieces, with a farewell after them; both sides get what was sent, and its end.
async fn exchange(ours: Ours, theirs: impl AsyncRead + AsyncWrite + Unpin, length: usize, piece: usize) {
    let talk = |stream, piece| talk(stream, length, piece);
    let (ours, theirs) = tokio::join!(talk(Either::Ours(ours), piece), talk(Either::Theirs(theirs), 4_096));
    assert!(ours == bytes(length) && theirs == bytes(length), "{length} bytes in pieces of {piece}");
}

enum Either<T> {
    Ours(Ours),
    Theirs(T),
}

async fn talk<T: AsyncRead + AsyncWrite + Unpin>(stream: Either<T>, length: usize, piece: usize) -> Vec<u8> {
    async fn say(writer: &mut (impl AsyncWrite + Unpin), length: usize, piece: usize) {
        for part in bytes(length).chunks(piece) {
            let (one, two) = part.split_at(part.len() / 3);
            let mut slices = [IoSlice::new(one), IoSlice::new(&[]), IoSlice::new(two)];
            let mut slices = &mut slices[..];
            while slices.iter().any(|slice| !slice.is_empty()) {
                let count = writer.write_vectored(slices).await.unwrap();
                IoSlice::advance_slices(&mut slices, count);
            }
        }
        writer.flush().await.unwrap();
        writer.shutdown().await.unwrap();
    }
    async fn hear(reader: &mut (impl AsyncRead + Unpin), piece: usize) -> Vec<u8> {
        let (mut heard, mut part) = (Vec::new(), vec![0; piece]);
        loop {
            match reader.read(&mut part).await.unwrap() {
                0 => return heard,
                count => heard.extend_from_slice(&part[..count]),
            }
        }
    }
    async fn both(stream: impl AsyncRead + AsyncWrite, length: usize, piece: usize) -> Vec<u8> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        tokio::join!(hear(&mut reader, piece), say(&mut writer, length, piece)).0
    }
    match stream {
        Either::Ours(ours) => both(ours, length, piece).await,
        Either::Theirs(theirs) => both(theirs, length, piece).await,
    }
}

#[tokio::test]
async fn whatever_is_said_is_heard_in_either_version_and_role() {
    for version in [&TLS12, &TLS13] {
        for pipe in [1, 100, 1 << 20] {
            for (length, piece) in [(0, 1), (1, 1), (2_000, 7), (16_384, 16_384), (300_000, 100_000)] {
                // One byte at a time is slow.
                if pipe == 1 && length > 2_000 {
                    continue;
                }
                let (ours, theirs) = as_server(version, pipe).await;
                assert_eq!(ours.alpn(), Some(&b"h2"[..]));
                assert_eq!(ours.peer_certificates(), None);
                exchange(ours, theirs, length, piece).await;
                let (ours, theirs) = as_client(version, pipe).await;
                assert_eq!(ours.peer_certificates().unwrap().len(), 1);
                exchange(ours, theirs, length, piece).await;
            }
        }
    }
}

#[tokio::test]
async fn a_connection_at_rest_keeps_no_buffer() {
    let (mut ours, mut theirs) = as_server(&TLS13, 1 << 20).await;
    theirs.write_all(&bytes(40_000)).await.unwrap();
    let mut part = vec![0; 10_000];
    for _ in 0..4 {
        ours.read_exact(&mut part).await.unwrap();
    }
    ours.write_all(&bytes(100_000)).await.unwrap();
    ours.flush().await.unwrap();
    let kept = [&ours.incoming, &ours.plain, &ours.outgoing].map(Vec::capacity);
    assert_eq!(kept, [0, 0, 0]);
}

#[tokio::test]
async fn what_has_come_is_seen_without_being_taken() {
    let (mut ours, mut theirs) = as_client(&TLS13, 1 << 20).await;
    theirs.write_all(b"preface").await.unwrap();
    theirs.shutdown().await.unwrap();
    let filled = |ours: &mut Ours| ours.poll_filled(&mut Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(filled(&mut ours), Poll::Ready(Ok(true))));
    assert!(matches!(filled(&mut ours), Poll::Ready(Ok(true))));
    let mut part = [0; 7];
    ours.read_exact(&mut part).await.unwrap();
    assert_eq!(&part, b"preface");
    assert!(matches!(filled(&mut ours), Poll::Ready(Ok(false))));
}

/// Who has said everything may go on listening (RFC 8446 §6.1).
#[tokio::test]
async fn each_direction_ends_by_itself() {
    let (mut ours, mut theirs) = as_server(&TLS13, 1 << 20).await;
    theirs.shutdown().await.unwrap();
    assert_eq!(ours.read(&mut [0; 10]).await.unwrap(), 0);
    assert_eq!(ours.read(&mut [0; 10]).await.unwrap(), 0);
    ours.write_all(b"still here").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"still here");
}

#[tokio::test]
async fn an_end_without_a_farewell_may_be_somebody_elses() {
    let (mut ours, theirs) = as_server(&TLS13, 1 << 20).await;
    let (mut io, _) = theirs.into_inner();
    io.shutdown().await.unwrap();
    let error = ours.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// The other side is told what is wrong with what it says.
#[tokio::test]
async fn what_is_not_of_the_session_ends_it() {
    let (mut ours, theirs) = as_server(&TLS13, 1 << 20).await;
    let (mut io, mut session) = theirs.into_inner();
    io.write_all(&[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        .await
        .unwrap();
    let error = ours.read(&mut [0; 10]).await.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert_eq!(inner, Some(&Error::DecryptError));
    assert!(ours.read(&mut [0; 10]).await.is_err(), "nothing else is believed either");
    drop(ours);
    let mut said = Vec::new();
    io.read_to_end(&mut said).await.unwrap();
    session.read_tls(&mut &said[..]).unwrap();
    let told = session.process_new_packets().unwrap_err();
    assert_eq!(told, Error::AlertReceived(AlertDescription::BadRecordMac));
}

/// A client that does not believe the certificate says so, and the server's error says what it said.
#[tokio::test]
async fn a_failed_handshake_is_told_to_both_sides() {
    let ((client, _), (_, server)) = (configs(&TLS13), configs(&TLS13));
    let (near, far) = duplex(1 << 20);
    let answered = async { Greeting::read(far).await.unwrap().answer(server).await };
    let (called, answered) = tokio::join!(call(near, client, name()), answered);
    let of = |error: io::Error| error.into_inner().unwrap().downcast::<Error>().unwrap();
    assert!(matches!(*of(called.unwrap_err()), Error::InvalidCertificate(_)));
    let refused = *of(answered.unwrap_err());
    assert_eq!(
        refused,
        Error::AlertReceived(AlertDescription::DecryptError),
        "another key under the same name"
    );
}

#[tokio::test]
async fn who_says_something_else_is_told() {
    // A record that is too long, and a message that breaks off.
    for said in [&[22, 3, 1, 255, 255][..], &[22, 3, 1, 0, 5, 1, 0, 0, 1, 3]] {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(said).await.unwrap();
        assert!(Greeting::read(near).await.is_err());
        let mut alert = Vec::new();
        far.read_to_end(&mut alert).await.unwrap();
        assert_eq!(alert.first(), Some(&21), "{alert:?}");
    }
}

/// A hello that never ends is not kept.
#[tokio::test(start_paused = true)]
async fn a_hello_has_a_bound() {
    let (near, mut far) = duplex(1 << 20);
    let flood = async {
        // A message of 16 MiB in records of 16 KiB.
        let mut part = vec![0; 16_384];
        part[..4].copy_from_slice(&[1, 255, 255, 255]);
        while far.write_all(&[22, 3, 1, 64, 0]).await.is_ok() && far.write_all(&part).await.is_ok() {}
    };
    let (read, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(60), Greeting::read(near)), flood);
    assert!(read.expect("it says no in time").is_err());
}

/// What a writer cannot send yet does not grow, however often it is asked.
#[tokio::test]
async fn a_writer_waits_for_what_it_wrote_before() {
    let (mut ours, _theirs) = as_server(&TLS13, 1_000).await;
    let context = &mut Context::from_waker(std::task::Waker::noop());
    let first = Pin::new(&mut ours).poll_write(context, &bytes(60_000));
    assert!(matches!(first, Poll::Ready(Ok(60_000))));
    let waits = ours.outgoing.len();
    assert!(Pin::new(&mut ours).poll_write(context, &bytes(60_000)).is_pending());
    assert!(Pin::new(&mut ours).poll_flush(context).is_pending());
    assert_eq!(ours.outgoing.len(), waits);
}
