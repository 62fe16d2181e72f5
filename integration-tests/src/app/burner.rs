//! An application that computes: each request costs one of its threads the same work, first come, first served, whether or not anyone still waits
//! for the answer.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{ANY, Serving, listen};

/// Turns of the wheel that are timed to learn how many make up the work.
const SAMPLE_TURNS: u64 = 200_000;
const SAMPLES: usize = 10;

type Work = oneshot::Sender<()>;

/// A running one. Dropped, it stops listening, and its threads end.
#[derive(Debug)]
pub struct Burner {
    /// Where it listens.
    pub addr: SocketAddr,
    done: Arc<AtomicU64>,
    _serving: Serving,
}

impl Burner {
    /// Starts one with so many threads, and this work for each request where nothing else runs.
    pub async fn start(threads: usize, work: Duration) -> Self {
        let (turns, done) = (turns_of(work), Arc::<AtomicU64>::default());
        let (queue, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let (waiting, done) = (waiting.clone(), done.clone());
            thread::spawn(move || burn(&waiting, turns, &done));
        }
        let (addr, serving) = listen(ANY, move |stream| converse(stream, queue.clone())).await;
        Self { addr, done, _serving: serving }
    }

    /// Requests that were worked on, wanted or not.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }
}

/// The least of several samples: others are of the machine's own making.
fn turns_of(work: Duration) -> u64 {
    let sample = || {
        let begun = Instant::now();
        turn(SAMPLE_TURNS);
        begun.elapsed()
    };
    let least = (0..SAMPLES).map(|_| sample()).min().unwrap_or_default();
    (SAMPLE_TURNS as f64 * work.as_secs_f64() / least.as_secs_f64()) as u64
}

fn turn(turns: u64) {
    let mut wheel = 1_u64;
    for number in 0..turns {
        wheel = black_box(wheel.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7) ^ number);
    }
}

/// The thread ends with the application.
fn burn(waiting: &Mutex<Receiver<Work>>, turns: u64, done: &AtomicU64) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(answer) = next else { return };
        turn(turns);
        done.fetch_add(1, Relaxed);
        // Nobody may wait for it any more.
        let _ = answer.send(());
    }
}

async fn converse(stream: TcpStream, queue: Sender<Work>) {
    let answer = service_fn(move |_: Request<Incoming>| {
        let (answer, answered) = oneshot::channel();
        let queued = queue.send(answer);
        async move {
            if queued.is_ok() {
                let _ = answered.await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
        }
    });
    // How a connection ends is the business of whoever ended it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}
