//! What a connection has been used for: what tells a client that works from one that only holds a place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{HEAD_MAX, IDLE_MAX};

/// Of one connection; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    opened: Instant,
    /// Whether a request's head has come, ever.
    used: AtomicBool,
    /// Requests that wait for their answer.
    answering: AtomicU64,
    /// When the last of them was answered, in milliseconds after `opened`.
    answered_ms: AtomicU64,
}

/// A request that waits for its answer, until this is dropped.
#[derive(Debug)]
pub(super) struct Request(Activity);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            opened: Instant::now(),
            used: AtomicBool::new(false),
            answering: AtomicU64::new(0),
            answered_ms: AtomicU64::new(0),
        }))
    }

    /// A request's head has come.
    pub(super) fn request(&self) -> Request {
        self.0.used.store(true, Ordering::Relaxed);
        self.0.answering.fetch_add(1, Ordering::Relaxed);
        Request(self.clone())
    }

    /// Returns once the connection has held its place for too long without need.
    pub(super) async fn lapsed(&self) {
        loop {
            let ends = self.ends();
            if ends <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(ends).await;
        }
    }

    /// When it would have to be closed, if nothing came any more.
    fn ends(&self) -> Instant {
        if !self.0.used.load(Ordering::Relaxed) {
            return self.0.opened + HEAD_MAX;
        }
        if self.0.answering.load(Ordering::Relaxed) > 0 {
            return Instant::now() + IDLE_MAX;
        }
        self.0.opened + Duration::from_millis(self.0.answered_ms.load(Ordering::Relaxed)) + IDLE_MAX
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let now = u64::try_from(shared.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.answered_ms.fetch_max(now, Ordering::Relaxed);
        shared.answering.fetch_sub(1, Ordering::Relaxed);
    }
}
