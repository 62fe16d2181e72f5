//! A request in the queue, between the worker that it came to and the one that gives it a place.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use super::Priority;

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const DISPLACED: u8 = 2;

/// See the module. Its state changes only while the queue is locked.
#[derive(Debug)]
pub struct Ticket {
    priority: Priority,
    state: AtomicU8,
    entered_ns: AtomicU64,
    until_ns: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Ticket {
    pub(super) fn new(priority: Priority) -> Self {
        Self {
            priority,
            state: AtomicU8::new(WAITING),
            entered_ns: AtomicU64::new(0),
            until_ns: AtomicU64::new(0),
            waker: Mutex::default(),
        }
    }

    /// Its class.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Until when it waits.
    pub fn until_ns(&self) -> u64 {
        self.until_ns.load(Relaxed)
    }

    /// When it was given a place, if it was.
    pub fn entered_ns(&self) -> Option<u64> {
        (self.state.load(Acquire) == GRANTED).then(|| self.entered_ns.load(Relaxed))
    }

    /// Whether another took its place in the queue.
    pub fn is_displaced(&self) -> bool {
        self.state.load(Acquire) == DISPLACED
    }

    /// Whether the wait is over; if not, `waker` is woken when it is.
    pub fn poll(&self, waker: &Waker) -> bool {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state.load(Acquire) != WAITING {
            return true;
        }
        known.get_or_insert_with(|| waker.clone()).clone_from(waker);
        false
    }

    pub(super) fn wait_until(&self, until_ns: u64) {
        self.until_ns.store(until_ns, Relaxed);
    }

    pub(super) fn grant(&self, now_ns: u64) {
        self.entered_ns.store(now_ns, Relaxed);
        self.end(GRANTED);
    }

    pub(super) fn displace(&self) {
        self.end(DISPLACED);
    }

    fn end(&self, state: u8) {
        let waker = {
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            self.state.store(state, Release);
            waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}
