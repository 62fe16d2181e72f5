//! An application with a capacity: it works on so many requests at a time, for so long each. The others wait, first come, first served, and
//! are worked on whether or not anyone still waits for them: nobody tells it. Its capacity is what it is on a busy machine, too: work that ends
//! late by the timer ends in time for the next.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
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
use tokio::time::{Instant, sleep_until};

use super::{ANY, Serving, listen};

/// A running one. Dropped, it stops listening.
#[derive(Debug)]
pub struct Bench {
    /// Where it listens.
    pub addr: SocketAddr,
    done: Arc<AtomicU64>,
    _serving: Serving,
}

/// Where requests are worked on.
#[derive(Debug)]
struct Places {
    free: Semaphore,
    /// Since when each of those that are free has been, in this order.
    since: Mutex<VecDeque<Instant>>,
}

impl Places {
    fn new(count: usize) -> Self {
        let since = std::iter::repeat_n(Instant::now(), count).collect();
        Self { free: Semaphore::new(count), since: Mutex::new(since) }
    }

    /// Works for so long on a request that comes now, once there is a place.
    async fn work(&self, work: Duration) {
        let came = Instant::now();
        let _place = self.free.acquire().await;
        let since = || self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let free = since().pop_front().expect("there are as many as permits");
        let end = free.max(came) + work;
        sleep_until(end).await;
        since().push_back(end);
    }
}

impl Bench {
    /// Starts one that has `places`, and works for `work` on each request.
    pub async fn start(places: usize, work: Duration) -> Self {
        let done = Arc::<AtomicU64>::default();
        let (places, counted) = (Arc::new(Places::new(places)), done.clone());
        let converse = move |stream| converse(stream, places.clone(), work, counted.clone());
        let (addr, serving) = listen(ANY, converse).await;
        Self { addr, done, _serving: serving }
    }

    /// Requests that were worked on, wanted or not.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }
}

async fn converse(stream: TcpStream, places: Arc<Places>, work: Duration, done: Arc<AtomicU64>) {
    let answer = service_fn(move |_: Request<Incoming>| {
        let (places, done) = (places.clone(), done.clone());
        // A task of its own: it goes on when the connection has ended.
        let worked = tokio::spawn(async move {
            places.work(work).await;
            done.fetch_add(1, Relaxed);
        });
        async move {
            let _ = worked.await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
        }
    });
    // How a connection ends is the business of whoever ended it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}
