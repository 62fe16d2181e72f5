//! Deadlines of one worker. A deadline is a number in a table and a waker; one task looks through the table when the earliest of them may
//! have passed. Arming and disarming cost a few nanoseconds, a tokio timer some two hundred, and nearly every deadline is disarmed unused.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;

use crate::clock;
use crate::telemetry::metrics::WorkerStats;

/// Deadlines are met up to this much late, and the millisecond that tokio's timer rounds up: those that are closer share a turn of the sweep.
pub const GRANULARITY_NS: u64 = 2_000_000;

const NEVER: u64 = u64::MAX;

/// A worker that looks so much later than it meant to was halted.
const HALT_NS: u64 = 1_000_000_000;

/// Turns in which a worker that was halted reads what has come meanwhile, before anything is found late. An answer takes two to get from its socket to
/// who waits for it.
const CATCH_UP_TURNS: usize = 4;

/// The table. One per worker.
#[derive(Debug)]
pub struct Sweep {
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
    /// When the task will look again.
    next_ns: Cell<u64>,
    earlier: Notify,
}

#[derive(Debug)]
struct Entry {
    at_ns: u64,
    fired: bool,
    waker: Option<Waker>,
}

impl Sweep {
    /// An empty table.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            entries: RefCell::default(),
            free: RefCell::default(),
            next_ns: Cell::new(NEVER),
            earlier: Notify::new(),
        })
    }

    /// The task: runs as long as the worker.
    pub async fn run(self: Rc<Self>, stats: Arc<WorkerStats>) {
        let mut planned_ns = NEVER;
        loop {
            let now_ns = clock::now_ns();
            if now_ns.saturating_sub(planned_ns) > HALT_NS {
                clock::resume(now_ns);
                stats.halts.add(1);
                for _ in 0..CATCH_UP_TURNS {
                    tokio::task::yield_now().await;
                }
            }
            let next_ns = self.wake_due(clock::now_ns());
            planned_ns = next_ns;
            if next_ns == NEVER {
                self.earlier.notified().await;
                continue;
            }
            let wait = tokio::time::sleep_until(clock::instant(next_ns));
            tokio::select! {
                () = wait => {}
                () = self.earlier.notified() => {}
            }
        }
    }

    /// Wakes what is due and says when to come again.
    fn wake_due(&self, now_ns: u64) -> u64 {
        let mut next_ns = NEVER;
        let mut due = Vec::new();
        for entry in self.entries.borrow_mut().iter_mut() {
            if entry.at_ns <= now_ns {
                entry.at_ns = NEVER;
                entry.fired = true;
                due.extend(entry.waker.take());
            } else {
                next_ns = next_ns.min(entry.at_ns);
            }
        }
        due.into_iter().for_each(Waker::wake);
        let next_ns = if next_ns == NEVER { NEVER } else { next_ns.max(now_ns + GRANULARITY_NS) };
        self.next_ns.set(next_ns);
        next_ns
    }

    /// Wakes everyone who has a deadline, due or not: something else changed that they should see.
    pub fn wake_all(&self) {
        let wakers: Vec<_> = self.entries.borrow().iter().filter_map(|entry| entry.waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn allocate(&self) -> u32 {
        if let Some(index) = self.free.borrow_mut().pop() {
            return index;
        }
        let mut entries = self.entries.borrow_mut();
        entries.push(Entry { at_ns: NEVER, fired: false, waker: None });
        (entries.len() - 1) as u32
    }
}

/// One deadline at a time.
#[derive(Debug)]
pub struct Timer {
    sweep: Rc<Sweep>,
    /// In the table, once it was armed.
    index: Option<u32>,
}

impl Timer {
    /// A timer that is not armed.
    pub fn new(sweep: &Rc<Sweep>) -> Self {
        Self { sweep: sweep.clone(), index: None }
    }

    /// Wakes `waker` when `at_ns` has passed, in place of any earlier setting.
    pub fn arm(&mut self, at_ns: u64, waker: &Waker) {
        let index = *self.index.get_or_insert_with(|| self.sweep.allocate());
        let mut entries = self.sweep.entries.borrow_mut();
        let entry = &mut entries[index as usize];
        entry.at_ns = at_ns;
        entry.fired = false;
        match &mut entry.waker {
            Some(known) if known.will_wake(waker) => {}
            known => *known = Some(waker.clone()),
        }
        drop(entries);
        if at_ns < self.sweep.next_ns.get() {
            self.sweep.next_ns.set(at_ns);
            self.sweep.earlier.notify_one();
        }
    }

    /// Forgets the deadline.
    pub fn disarm(&mut self) {
        if let Some(index) = self.index {
            let mut entries = self.sweep.entries.borrow_mut();
            let entry = &mut entries[index as usize];
            (entry.at_ns, entry.fired) = (NEVER, false);
        }
    }

    /// Whether the deadline has passed since the timer was armed.
    pub fn fired(&self) -> bool {
        self.index.is_some_and(|index| self.sweep.entries.borrow()[index as usize].fired)
    }

    /// Whether a deadline is set and has not passed.
    pub fn armed(&self) -> bool {
        self.index.is_some_and(|index| self.sweep.entries.borrow()[index as usize].at_ns != NEVER)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            let mut entries = self.sweep.entries.borrow_mut();
            let entry = &mut entries[index as usize];
            (entry.at_ns, entry.fired, entry.waker) = (NEVER, false, None);
            self.sweep.free.borrow_mut().push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn what_is_due_is_woken_once_and_the_next_is_told() {
        let sweep = Sweep::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let (mut early, mut late, mut never) = (Timer::new(&sweep), Timer::new(&sweep), Timer::new(&sweep));
        early.arm(100, &waker);
        late.arm(GRANULARITY_NS * 2, &waker);
        never.arm(100, &waker);
        never.disarm();
        assert_eq!(sweep.wake_due(100), GRANULARITY_NS * 2);
        assert_eq!(
            (early.fired(), late.fired(), never.fired(), count.0.load(Relaxed)),
            (true, false, false, 1)
        );
        assert_eq!(sweep.wake_due(101), GRANULARITY_NS * 2);
        drop(late);
        assert_eq!(sweep.wake_due(102), NEVER);
        assert_eq!(count.0.load(Relaxed), 1);
        early.arm(200, &waker);
        assert!(!early.fired(), "armed anew");
    }

    #[test]
    fn places_are_used_again() {
        let sweep = Sweep::new();
        for _ in 0..100 {
            Timer::new(&sweep).arm(1, Waker::noop());
        }
        assert_eq!(sweep.entries.borrow().len(), 1);
    }
}
