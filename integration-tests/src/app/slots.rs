//! An application with so many slots, each for one request at a time, and with times of work that are drawn. What waits for a slot leaves with
//! its client; what is worked on is worked on to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{ANY, Serving, listen};

/// Draws how long one request takes.
pub type Draw = fn() -> Duration;

/// A running one. Dropped, it stops listening.
#[derive(Debug)]
pub struct Slots {
    /// Where it listens.
    pub addr: SocketAddr,
    counts: Arc<Counts>,
    _serving: Serving,
}

#[derive(Debug)]
struct Counts {
    places: Semaphore,
    draw: Draw,
    speed_permille: AtomicU64,
    requests: AtomicU64,
    abandoned: AtomicU64,
}

impl Slots {
    /// Starts one at a speed of 1.
    pub async fn start(places: usize, draw: Draw) -> Self {
        let counts = Arc::new(Counts {
            places: Semaphore::new(places),
            draw,
            speed_permille: AtomicU64::new(1_000),
            requests: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
        });
        let shared = counts.clone();
        let (addr, serving) = listen(ANY, move |stream| converse(stream, shared.clone())).await;
        Self { addr, counts, _serving: serving }
    }

    /// Times of work are divided by this, in thousandths.
    pub fn speed(&self, permille: u64) {
        self.counts.speed_permille.store(permille, Relaxed);
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Relaxed)
    }

    /// Requests whose client left before the answer.
    pub fn abandoned(&self) -> u64 {
        self.counts.abandoned.load(Relaxed)
    }
}

/// Counts a request as abandoned unless it was answered.
struct Answering {
    counts: Arc<Counts>,
    answered: bool,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.counts.abandoned.fetch_add(u64::from(!self.answered), Relaxed);
    }
}

async fn converse(stream: TcpStream, counts: Arc<Counts>) {
    let answer = service_fn(move |_: Request<Incoming>| {
        let counts = counts.clone();
        async move {
            counts.requests.fetch_add(1, Relaxed);
            let mut answering = Answering { counts: counts.clone(), answered: false };
            work(counts).await;
            answering.answered = true;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
        }
    });
    // How a connection ends is the business of whoever ended it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn work(counts: Arc<Counts>) {
    let Ok(place) = counts.places.acquire().await else { return };
    place.forget();
    // A task of its own: it goes on when the connection has ended.
    let worked = tokio::spawn(async move {
        let speed = counts.speed_permille.load(Relaxed).max(1);
        let time = (counts.draw)().as_secs_f64() * 1_000.0 / speed as f64;
        tokio::time::sleep(Duration::from_secs_f64(time)).await;
        counts.places.add_permits(1);
    });
    let _ = worked.await;
}
