use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::*;
use crate::transport::Socket;

fn run<F: Future>(paused: bool, test: impl FnOnce() -> F) -> F::Output {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().start_paused(paused);
    runtime.build_local(LocalOptions::default()).expect("a runtime").block_on(test())
}

/// Two ends of a connection.
async fn pair() -> (Socket, Socket) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, accepted) = tokio::join!(near, listener.accept());
    (near.unwrap().into(), accepted.unwrap().0.into())
}

type Counts = Rc<Cell<(u64, u64)>>;

/// What is carried between two of them.
struct Rig {
    means: Means,
    counts: Counts,
    carry: JoinHandle<Ended>,
}

fn carry<D: End + 'static, U: End + 'static>(downstream: D, upstream: U, idle_ns: Option<u64>) -> Rig {
    let sweep = Sweep::new();
    spawn_local(sweep.clone().run(Default::default()));
    let means = Means { sweep, pipes: Pipes::default(), stats: Arc::default() };
    let counts = Counts::default();
    let counted = counts.clone();
    let count = move |way, bytes| {
        let (up, down) = counted.get();
        counted.set(if way == Way::Up { (up + bytes, down) } else { (up, down + bytes) });
    };
    let ahead = (Bytes::new(), Bytes::new());
    let carry = spawn_local(Carry::new(&means, downstream, upstream, ahead, idle_ns, count));
    Rig { means, counts, carry }
}

/// Bytes that do not repeat soon.
fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.u8(..)).collect()
}

/// Sends `up` and `down` at once, and each end once it is sent; whether all of it came.
async fn exchange(
    client: impl AsyncRead + AsyncWrite,
    server: impl AsyncRead + AsyncWrite,
    up: &[u8],
    down: &[u8],
) -> bool {
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let (mut came_up, mut came_down) = (Vec::new(), Vec::new());
    let sent_up = async {
        client_write.write_all(up).await.unwrap();
        client_write.shutdown().await.unwrap();
    };
    let sent_down = async {
        server_write.write_all(down).await.unwrap();
        server_write.shutdown().await.unwrap();
    };
    let (_, _, read_up, read_down) = tokio::join!(
        sent_up,
        sent_down,
        server_read.read_to_end(&mut came_up),
        client_read.read_to_end(&mut came_down)
    );
    read_up.unwrap();
    read_down.unwrap();
    came_up == up && came_down == down
}

#[test]
fn sockets_carry_every_byte_and_the_kernel_moves_the_many() {
    for (length, pipes) in [(0, false), (1, false), (100_000, false), (9_000_001, true)] {
        run(false, || async move {
            let ((client, downstream), (upstream, server)) = (pair().await, pair().await);
            let rig = carry(downstream, upstream, None);
            let (up, down) = (content(length, 1), content(length / 2, 2));
            assert!(exchange(client, server, &up, &down).await, "{length} bytes");
            assert!(matches!(rig.carry.await.unwrap(), Ended::Done));
            assert_eq!(rig.counts.get(), (length as u64, length as u64 / 2));
            assert_eq!(rig.means.pipes.opened() > 0, pipes, "{length} bytes");
        });
    }
}

#[test]
fn whoever_pauses_in_a_bulk_transfer_is_not_kept_waiting_for_more() {
    run(false, || async {
        let ((mut client, downstream), (upstream, mut server)) = (pair().await, pair().await);
        let rig = carry(downstream, upstream, None);
        let (sent, mut came) = (content(1 << 20, 3), vec![0; 1 << 20]);
        for bytes in [1 << 20, 1, 100_000, 300_000] {
            let talk = async {
                for _ in 0..100 {
                    let both = tokio::join!(client.write_all(&sent), server.read_exact(&mut came));
                    both.0.and(both.1.map(drop)).unwrap();
                }
                client.write_all(&sent[..bytes]).await.unwrap();
                server.read_exact(&mut came[..bytes]).await.unwrap();
                assert_eq!(came[..bytes], sent[..bytes]);
                server.write_all(b"+").await.unwrap();
                assert_eq!(client.read_u8().await.unwrap(), b'+');
            };
            timeout(Duration::from_secs(60), talk)
                .await
                .expect("the last bytes come without more behind them");
        }
        drop((client, server));
        assert!(matches!(rig.carry.await.unwrap(), Ended::Done));
    });
}

#[test]
fn what_was_read_ahead_goes_first() {
    run(false, || async {
        let ((client, downstream), (upstream, server)) = (pair().await, pair().await);
        let means = Means { sweep: Sweep::new(), pipes: Pipes::default(), stats: Arc::default() };
        let ahead = (Bytes::from_static(b"hello "), Bytes::from_static(b"220 "));
        let counts = Counts::default();
        let counted = counts.clone();
        let carry = Carry::new(&means, downstream, upstream, ahead, None, move |way, bytes| {
            let (up, down) = counted.get();
            counted.set(if way == Way::Up { (up + bytes, down) } else { (up, down + bytes) });
        });
        let carry = spawn_local(carry);
        let (mut client, mut server) = (client, server);
        client.write_all(b"world").await.unwrap();
        server.write_all(b"ready").await.unwrap();
        let (mut up, mut down) = ([0; 11], [0; 9]);
        server.read_exact(&mut up).await.unwrap();
        client.read_exact(&mut down).await.unwrap();
        assert_eq!((&up, &down), (b"hello world", b"220 ready"));
        drop((client, server));
        carry.await.unwrap();
        assert_eq!(counts.get(), (11, 9));
    });
}

#[test]
fn sockets_of_the_machine_and_sockets_of_the_network_are_joined() {
    run(false, || async {
        let (client, downstream) = pair().await;
        let (upstream, server) = UnixStream::pair().unwrap();
        let rig = carry(downstream, Socket::from(upstream), None);
        assert!(exchange(client, server, &content(2_000_000, 3), &content(2_000_000, 4)).await);
        assert!(matches!(rig.carry.await.unwrap(), Ended::Done));
        assert!(rig.means.pipes.opened() > 0, "the kernel moves these, too");
    });
}

#[test]
fn one_end_may_end_long_before_the_other() {
    run(false, || async {
        let ((mut client, downstream), (upstream, mut server)) = (pair().await, pair().await);
        let rig = carry(downstream, upstream, None);
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        for part in [&b"a long "[..], b"answer"] {
            server.write_all(part).await.unwrap();
            let mut came = vec![0; part.len()];
            client.read_exact(&mut came).await.unwrap();
            assert_eq!(came, part);
        }
        assert!(!rig.carry.is_finished());
        drop(server);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert!(matches!(rig.carry.await.unwrap(), Ended::Done));
    });
}

#[test]
fn a_break_on_one_side_is_a_break_on_the_other() {
    run(false, || async {
        for breaks_up in [true, false] {
            let ((client, downstream), (upstream, server)) = (pair().await, pair().await);
            let rig = carry(downstream, upstream, None);
            let (broken, mut other) = if breaks_up { (client, server) } else { (server, client) };
            broken.abort();
            drop(broken);
            let error = other.read(&mut [0]).await.expect_err("an end would be a lie");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            let Ended::Broken(side, _) = rig.carry.await.unwrap() else { panic!("it broke") };
            assert_eq!(side, if breaks_up { Side::Downstream } else { Side::Upstream });
        }
    });
}

#[test]
fn whoever_is_cut_is_told_so() {
    run(false, || async {
        let ((mut client, downstream), (upstream, mut server)) = (pair().await, pair().await);
        let rig = carry(downstream, upstream, None);
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        rig.carry.abort();
        for end in [&mut client, &mut server] {
            let error = end.read(&mut [0]).await.expect_err("an end would be a lie");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn an_idle_connection_ends_and_a_busy_one_does_not() {
    const LIMIT_NS: u64 = 10_000_000_000;
    run(true, || async {
        let ((mut client, downstream), (upstream, mut server)) = (pair().await, pair().await);
        let begun = tokio::time::Instant::now();
        let rig = carry(downstream, upstream, Some(LIMIT_NS));
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(7)).await;
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
        }
        assert!(!rig.carry.is_finished());
        assert!(matches!(rig.carry.await.unwrap(), Ended::Idle));
        let (took, least) = (begun.elapsed(), Duration::from_secs(45));
        assert!((least..least + Duration::from_secs(1)).contains(&took), "{took:?}");
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "nothing was under way");
    });
}

#[test]
fn whoever_does_not_read_holds_the_sender_up_and_is_cut_when_idle() {
    run(false, || async {
        let ((mut client, downstream), (upstream, mut server)) = (pair().await, pair().await);
        let rig = carry(downstream, upstream, Some(300_000_000));
        let chunk = vec![7; 64 * 1024];
        let sending = async { while client.write_all(&chunk).await.is_ok() {} };
        let (_, ended) = tokio::join!(sending, rig.carry);
        assert!(matches!(ended.unwrap(), Ended::Idle));
        assert!(rig.counts.get().0 < 64 << 20, "{} bytes were taken for nobody", rig.counts.get().0);
        let error = server.read_to_end(&mut Vec::new()).await.expect_err("an end would be a lie");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

/// Keeps what is written until it is flushed, as TLS may.
#[derive(Debug)]
struct Keeping(DuplexStream, Vec<u8>);

impl AsyncRead for Keeping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Keeping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.1.len() > 30_000 {
            std::task::ready!(self.as_mut().poll_flush(context))?;
        }
        self.1.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self(stream, kept) = &mut *self;
        while !kept.is_empty() {
            let count = std::task::ready!(Pin::new(&mut *stream).poll_write(context, kept))?;
            kept.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl End for Keeping {
    fn plain(&self) -> Option<&Socket> {
        None
    }

    fn abort(&self) {}
}

#[test]
fn what_a_connection_keeps_is_flushed_before_it_waits() {
    run(false, || async {
        let (client, downstream) = duplex(5_000);
        let (upstream, server) = pair().await;
        let (mut client, mut server) = (client, server);
        let rig = carry(Keeping(downstream, Vec::new()), upstream, None);
        server.write_all(b"220 ready").await.unwrap();
        let mut greeting = [0; 9];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 ready");
        assert!(exchange(client, server, &content(3_000_000, 5), &content(3_000_000, 6)).await);
        assert!(matches!(rig.carry.await.unwrap(), Ended::Done));
        assert_eq!(rig.means.pipes.opened(), 0, "what is encrypted is not the kernel's to move");
    });
}
