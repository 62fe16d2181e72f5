//! Durations of requests by what they are told apart by ([`Kind`]), of one rule, one cluster and one worker. There is room for a kind once a
//! request is of it: most rules see two or three.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

use super::duration::{Counted, Durations};
use super::exemplar::Exemplars;
use super::kind::Kind;
use super::metrics::Counter;

/// Kinds that are told apart for one rule and cluster, by each worker.
pub const KINDS_MAX: usize = 32;
/// Series of durations that one process keeps, those of each worker counted.
pub const SERIES_MAX: u32 = 10_000;
/// A series that no worker saw anything of for so long is not written any more, and another may take its place.
pub const IDLE_NS: u64 = 600_000_000_000;

/// How many series there are.
#[derive(Debug, Default)]
pub struct Room(AtomicU32);

impl Room {
    fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |taken| (taken < SERIES_MAX).then_some(taken + 1)).is_ok()
    }

    /// How many are taken.
    pub fn taken(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// The status that the client got, if it got one.
    pub status: Option<u16>,
    /// What it is counted as.
    pub kind: Kind,
    /// Why it failed, if it did: the number of the reason among [`REASONS`](crate::local_reply::REASONS).
    pub failed: Option<usize>,
    /// From its head to the last byte of its response.
    pub duration_ns: u64,
    /// When that was, on [`crate::clock`].
    pub now_ns: u64,
    /// The trace that it is part of, if that is kept.
    pub trace: Option<u128>,
}

/// See the module. Only the owning worker counts; others may read at any time.
#[derive(Debug)]
pub struct Kinds {
    /// [`Kind::bits`], in the order in which they came; 0: free from here on, or being given away.
    keys: [AtomicU32; KINDS_MAX],
    series: [OnceLock<Box<Series>>; KINDS_MAX],
    /// `None`: these are counted nowhere, as there is a bound on them of another kind.
    room: Option<Arc<Room>>,
}

/// What there is of one kind.
#[derive(Debug, Default)]
pub struct Series {
    /// Of its requests.
    pub durations: Durations,
    /// Those of them that were traced.
    pub exemplars: Exemplars,
    last_ns: Counter,
}

impl Series {
    fn count(&self, finished: &Finished) {
        self.durations.add(finished.duration_ns);
        self.last_ns.set(finished.now_ns);
        if let Some(trace) = finished.trace {
            self.exemplars.note(trace, finished.duration_ns, finished.now_ns);
        }
    }

    /// When the last of them ended.
    pub fn last_ns(&self) -> u64 {
        self.last_ns.value()
    }
}

/// Whether what was last seen then has been idle for long.
pub fn is_idle(last_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(last_ns) >= IDLE_NS
}

impl Kinds {
    /// None yet. Each takes its place in `room`.
    pub fn new(room: Option<Arc<Room>>) -> Self {
        Self { keys: Default::default(), series: Default::default(), room }
    }

    /// Counts a request; false if there is no room for its kind: neither free, nor of a kind that, as `is_idle` says, nobody sees any more.
    /// Only the owning worker may call it.
    pub fn count(&self, finished: &Finished, is_idle: impl Fn(Kind) -> bool) -> bool {
        let bits = finished.kind.bits();
        let known = self.keys.iter().position(|key| [bits, 0].contains(&key.load(Relaxed)));
        match known {
            Some(index) if self.keys[index].load(Relaxed) == bits => {
                self.series[index].get_or_init(Box::default).count(finished);
                true
            }
            _ => self.admit(finished, is_idle),
        }
    }

    /// Makes room for a kind that is new, where nothing is or nothing has come for long.
    #[cold]
    fn admit(&self, finished: &Finished, is_idle: impl Fn(Kind) -> bool) -> bool {
        let free = self.keys.iter().position(|key| key.load(Relaxed) == 0);
        let free = free.filter(|_| self.room.as_ref().is_none_or(|room| room.take()));
        let idle = || {
            let kind = |key: &AtomicU32| Kind::from_bits(key.load(Relaxed));
            self.keys.iter().position(|key| kind(key).is_some_and(&is_idle))
        };
        let Some(index) = free.or_else(idle) else { return false };
        let series = self.series[index].get_or_init(Box::default);
        // A reader that has met the key before must not take what is counted from now on for its own.
        self.keys[index].store(0, Relaxed);
        fence(Release);
        series.durations.clear();
        series.exemplars.clear();
        series.count(finished);
        self.keys[index].store(finished.kind.bits(), Release);
        true
    }

    /// Whether nothing of this kind was seen for long.
    pub fn is_idle(&self, kind: Kind, now_ns: u64) -> bool {
        let at = self.keys.iter().position(|key| key.load(Acquire) == kind.bits());
        at.and_then(|index| self.series[index].get()).is_none_or(|series| is_idle(series.last_ns(), now_ns))
    }

    /// Adds up the durations of all kinds, idle or not.
    pub fn sum_into(&self, all: &mut Counted) {
        self.each(|_, series, whole| {
            let mut counted = Counted::default();
            counted.add(&series.durations);
            if whole() {
                all.merge(&counted);
            }
        });
    }

    /// Hands each kind, idle or not, to `read`, which must not keep what it finds if this is false afterwards.
    pub fn each(&self, mut read: impl FnMut(Kind, &Series, &dyn Fn() -> bool)) {
        for (key, series) in self.keys.iter().zip(&self.series) {
            let bits = key.load(Acquire);
            let unchanged = || {
                fence(Acquire);
                key.load(Relaxed) == bits
            };
            if let (Some(kind), Some(series)) = (Kind::from_bits(bits), series.get()) {
                read(kind, series, &unchanged);
            }
        }
    }
}

impl Drop for Kinds {
    fn drop(&mut self) {
        let taken = self.keys.iter().filter(|key| key.load(Relaxed) != 0).count() as u32;
        if let Some(room) = &self.room {
            room.0.fetch_sub(taken, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::{Ending, Verb};
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn finished(status: u16, now_ns: u64) -> Finished {
        let kind = Kind::new(Verb::default(), Some(status), Ending::default());
        let duration_ns = u64::from(status);
        Finished { status: Some(status), kind, failed: None, duration_ns, now_ns, trace: None }
    }

    /// Counts it where nobody else counts.
    fn count(kinds: &Kinds, finished: &Finished) -> bool {
        kinds.count(finished, |kind| kinds.is_idle(kind, finished.now_ns))
    }

    /// Kinds and how many requests of each.
    fn read(kinds: &Kinds, now_ns: u64) -> Vec<(Kind, u64)> {
        let mut found = Vec::new();
        kinds.each(|kind, series, whole| {
            if is_idle(series.last_ns(), now_ns) {
                return;
            }
            let mut counted = Counted::default();
            counted.add(&series.durations);
            assert!(whole());
            found.push((kind, counted.classic().iter().sum()));
        });
        found
    }

    #[test]
    fn what_there_is_no_room_for_is_not_counted_until_others_are_idle() {
        let room = Arc::new(Room::default());
        let kinds = Kinds::new(Some(room.clone()));
        for status in 100..100 + KINDS_MAX as u16 {
            assert!(count(&kinds, &finished(status, 0)), "{status}");
        }
        assert!(!count(&kinds, &finished(500, SECOND)), "one too many");
        assert!(count(&kinds, &finished(100, 5 * SECOND)), "it is known");
        assert!(!count(&kinds, &finished(500, IDLE_NS - 1)));
        // The first of those that have been idle, which is the second.
        assert!(count(&kinds, &finished(500, IDLE_NS)));
        let found = read(&kinds, IDLE_NS);
        assert_eq!(found, [(finished(100, 0).kind, 2), (finished(500, 0).kind, 1)], "the others are idle");
        assert_eq!(room.taken(), KINDS_MAX as u32);
        assert!(count(&kinds, &finished(101, IDLE_NS)), "it begins anew");
        assert_eq!(read(&kinds, IDLE_NS).last(), Some(&(finished(101, 0).kind, 1)));
        drop(kinds);
        assert_eq!(room.taken(), 0);
    }

    #[test]
    fn all_series_of_a_process_are_bounded() {
        let room = Arc::new(Room::default());
        let mut many = Vec::new();
        while room.taken() < SERIES_MAX {
            let kinds = Kinds::new(Some(room.clone()));
            for status in 100..100 + KINDS_MAX as u16 {
                assert_eq!(count(&kinds, &finished(status, 0)), room.taken() <= SERIES_MAX);
                if room.taken() == SERIES_MAX {
                    break;
                }
            }
            many.push(kinds);
        }
        let late = Kinds::new(Some(room.clone()));
        assert!(!count(&late, &finished(200, 0)));
        many.pop();
        assert!(count(&late, &finished(200, 0)), "a rule that is gone leaves its room");
        assert!(count(&Kinds::new(None), &finished(200, 0)));
    }
}
