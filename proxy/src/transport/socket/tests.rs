use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_local, yield_now};

use super::*;

fn run<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().build_local(LocalOptions::default()).expect("a runtime").block_on(test())
}

/// The two ends of a connection, of either kind.
async fn pairs() -> [(Socket, Socket); 2] {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, accepted) = tokio::join!(near, listener.accept());
    let (near, accepted) = (near.unwrap(), accepted.unwrap().0);
    near.set_nodelay(true).unwrap();
    let unix = UnixStream::pair().unwrap();
    [(near.into(), accepted.into()), (unix.0.into(), unix.1.into())]
}

async fn peek(socket: &Socket, room: usize, seen: usize) -> (usize, Vec<u8>) {
    let mut bytes = vec![0; room];
    let count = poll_fn(|context| socket.poll_peek(context, &mut bytes, seen)).await.unwrap();
    bytes.truncate(count);
    (count, bytes)
}

#[test]
fn bytes_are_looked_at_and_left_where_they_are() {
    run(async || {
        for (mut near, mut far) in pairs().await {
            near.write_all(b"PRI * HTTP").await.unwrap();
            assert_eq!(peek(&far, 3, 0).await, (3, b"PRI".to_vec()));
            assert_eq!(peek(&far, 3, 3).await.0, 3, "there is no room for more");
            assert_eq!(peek(&far, 64, 3).await, (10, b"PRI * HTTP".to_vec()));
            near.shutdown().await.unwrap();
            assert_eq!(peek(&far, 64, 10).await.0, 10, "no more will come");
            far.renew().unwrap();
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, b"PRI * HTTP");
            assert_eq!(peek(&far, 64, 0).await.0, 0);
        }
    });
}

/// Half of what is waited for must not keep anybody busy.
#[test]
fn bytes_that_were_seen_wake_nobody() {
    run(async || {
        for (mut near, mut far) in pairs().await {
            near.write_all(b"PRI").await.unwrap();
            assert_eq!(peek(&far, 64, 0).await.0, 3);
            let turns = Rc::new(Cell::new(0));
            let counted = turns.clone();
            let waiting = spawn_local(async move {
                let mut bytes = [0; 64];
                let waiting = poll_fn(|context| {
                    counted.set(counted.get() + 1);
                    far.poll_peek(context, &mut bytes, 3)
                });
                let count = waiting.await.unwrap();
                far.renew().unwrap();
                (count, far)
            });
            for _ in 0..1_000 {
                yield_now().await;
            }
            assert!((1..5).contains(&turns.get()), "{} turns", turns.get());
            near.write_all(b" *").await.unwrap();
            let (count, mut far) = waiting.await.unwrap();
            assert_eq!(count, 5);
            let mut read = [0; 5];
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"PRI *");
        }
    });
}

/// Whoever gives up waiting for more can still read what there is.
#[test]
fn what_was_only_looked_at_is_read_after_it_was_renewed() {
    run(async || {
        for (mut near, mut far) in pairs().await {
            near.write_all(b"PRI").await.unwrap();
            assert_eq!(peek(&far, 64, 0).await.0, 3);
            let mut bytes = [0; 64];
            let more = poll_fn(|context| Poll::Ready(far.poll_peek(context, &mut bytes, 3)));
            assert!(more.await.is_pending());
            far.renew().unwrap();
            let mut read = [0; 3];
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"PRI");
        }
    });
}
