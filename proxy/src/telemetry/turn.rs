//! How long a worker goes without looking at its connections: what a request may have had to wait for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The turns of one worker's loop. One ends, and the next begins, whenever a downstream connection gets its turn; the time in which the worker
/// waits for events belongs to none. Written by the worker, read at scrapes.
#[derive(Debug, Default)]
pub struct Turns {
    /// 0: the worker waits.
    began_ns: AtomicU64,
    longest_ns: AtomicU64,
}

impl Turns {
    /// The worker waits no more.
    pub fn begin(&self, now_ns: u64) {
        self.began_ns.store(now_ns, Relaxed);
    }

    /// A connection has its turn.
    pub fn next(&self, now_ns: u64) {
        self.end(now_ns);
        self.begin(now_ns);
    }

    /// When the turn under way began: the time, as far as a turn can tell.
    pub fn began_ns(&self) -> u64 {
        self.began_ns.load(Relaxed)
    }

    /// The worker has nothing more to do, and waits.
    pub fn end(&self, now_ns: u64) {
        let began_ns = self.began_ns.load(Relaxed);
        self.began_ns.store(0, Relaxed);
        let lasted_ns = now_ns.saturating_sub(began_ns);
        if began_ns != 0 && lasted_ns > self.longest_ns.load(Relaxed) {
            self.longest_ns.store(lasted_ns, Relaxed);
        }
    }

    /// The longest turn since this was last asked, in nanoseconds.
    pub fn take_longest_ns(&self) -> u64 {
        self.longest_ns.swap(0, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn waiting_is_no_turn_and_the_longest_is_told_once() {
        let turns = Turns::default();
        turns.end(5);
        turns.begin(100);
        turns.next(130);
        turns.next(140);
        turns.end(150);
        turns.begin(1_000);
        turns.end(1_020);
        assert_eq!(turns.take_longest_ns(), 30);
        assert_eq!(turns.take_longest_ns(), 0);
    }
}
