//! Places at the application, and what is measured of their use, shared by all workers: one application has one limit, and a worker that
//! cut only its own share would not see whether latency follows. Entering and leaving are a few uncontended atomic operations.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::limit::{IDLE, Sample};

/// A request that is unanswered for so long counts no more: it waits by design (a long poll, a stream whose head comes with its first
/// message), or for good, and says nothing of how busy the application is. In seconds.
pub const COUNTED_S: u32 = 10;
/// Places in the ring of seconds; more than are counted, so that a second is cleared before its place comes again.
const SECONDS: u32 = 16;
/// Latencies kept between two looks: of more answers, the newest count.
const SAMPLES_MAX: usize = 1_024;

/// Bits of the count of requests in flight; the rest holds time.
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const TIME_BITS: u32 = u64::BITS - COUNT_BITS;

/// See the module.
#[derive(Debug)]
pub struct Gate {
    /// Requests in flight (low bits), and the sum of all times of leaving less that of all times of entering, in microseconds, modulo.
    /// Both change in one step, so that the time integral of requests in flight is exact at any moment: count × now + sum.
    state: AtomicU64,
    limit: AtomicU32,
    answers: AtomicU64,
    /// Time of sending and latency, 32 bits of microseconds each, by number of the answer.
    samples: Box<[AtomicU64]>,
    refused: AtomicBool,
    /// Requests in flight by the second of their entering. Who takes one out of here also takes it off `state`.
    by_second: [AtomicU32; SECONDS as usize],
    second: AtomicU32,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            state: AtomicU64::new(0),
            limit: AtomicU32::new(IDLE as u32),
            answers: AtomicU64::new(0),
            samples: (0..SAMPLES_MAX).map(|_| AtomicU64::new(0)).collect(),
            refused: AtomicBool::new(false),
            by_second: Default::default(),
            second: AtomicU32::new(0),
        }
    }
}

impl Gate {
    /// Takes a place if fewer than `limit` are taken.
    pub fn try_enter(&self, limit: u32, now_ns: u64) -> bool {
        self.forget_old(now_ns);
        let entering = micros(now_ns) << COUNT_BITS;
        let mut state = self.state.load(SeqCst);
        loop {
            if state & COUNT_MASK >= u64::from(limit).min(COUNT_MASK) {
                return false;
            }
            let entered = state.wrapping_sub(entering).wrapping_add(1);
            match self.state.compare_exchange_weak(state, entered, SeqCst, SeqCst) {
                Ok(_) => break,
                Err(changed) => state = changed,
            }
        }
        self.bucket(second(now_ns)).fetch_add(1, Relaxed);
        true
    }

    /// Gives back the place that was taken at `entered_ns`.
    pub fn leave(&self, entered_ns: u64, now_ns: u64) {
        self.forget_old(now_ns);
        let entered = second(entered_ns);
        if second(now_ns).saturating_sub(entered) >= COUNTED_S {
            return;
        }
        let bucket = self.bucket(entered);
        if bucket.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1)).is_ok() {
            self.take_off(1, now_ns);
        }
    }

    /// Notes an answer.
    pub fn answered(&self, entered_ns: u64, now_ns: u64) {
        let latency_us = u32::try_from(now_ns.saturating_sub(entered_ns) / 1_000).unwrap_or(u32::MAX);
        let sample = ((entered_ns / 1_000) & u64::from(u32::MAX)) << u32::BITS | u64::from(latency_us);
        let number = self.answers.fetch_add(1, Relaxed);
        self.samples[number as usize % SAMPLES_MAX].store(sample, Relaxed);
    }

    /// Notes that a request had to wait, or was refused.
    pub fn note_refused(&self) {
        if !self.refused.load(Relaxed) {
            self.refused.store(true, Relaxed);
        }
    }

    /// Whether any did since the last call.
    pub fn take_refused(&self) -> bool {
        self.refused.swap(false, Relaxed)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        (self.state.load(SeqCst) & COUNT_MASK) as u32
    }

    /// How many may be.
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Sets how many may be.
    pub fn set_limit(&self, limit: f64) {
        self.limit.store(limit.max(1.0) as u32, Relaxed);
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// The answers from number `since` on, of which at most the newest `SAMPLES_MAX`, into `samples`.
    pub fn samples(&self, since: u64, now_ns: u64, samples: &mut Vec<Sample>) {
        let end = self.answers();
        let now_us = (now_ns / 1_000) as u32;
        samples.clear();
        samples.extend((since.max(end.saturating_sub(SAMPLES_MAX as u64))..end).map(|number| {
            let sample = self.samples[number as usize % SAMPLES_MAX].load(Relaxed);
            let age_us = now_us.wrapping_sub((sample >> u32::BITS) as u32);
            Sample {
                sent_ns: now_ns.saturating_sub(u64::from(age_us) * 1_000),
                latency_s: f64::from(sample as u32) / 1e6,
            }
        }));
    }

    /// The time integral of requests in flight until now, modulo; only differences mean something.
    pub fn integral(&self, now_ns: u64) -> Integral {
        let state = self.state.load(SeqCst);
        let area_us = (state & COUNT_MASK).wrapping_mul(micros(now_ns)).wrapping_add(state >> COUNT_BITS);
        Integral { area_us, at_ns: now_ns }
    }

    fn take_off(&self, count: u32, now_ns: u64) {
        let leaving = u64::from(count).wrapping_mul(micros(now_ns)) << COUNT_BITS;
        self.state.fetch_add(leaving.wrapping_sub(u64::from(count)), SeqCst);
    }

    fn bucket(&self, second: u32) -> &AtomicU32 {
        &self.by_second[(second % SECONDS) as usize]
    }

    /// Takes off what entered too long ago, once a second.
    fn forget_old(&self, now_ns: u64) {
        let (now, known) = (second(now_ns), self.second.load(Relaxed));
        if now <= known || self.second.compare_exchange(known, now, Relaxed, Relaxed).is_err() {
            return;
        }
        // Between two looks everything may have become old.
        let first = known.saturating_sub(COUNTED_S - 1).max(now.saturating_sub(COUNTED_S + SECONDS - 1));
        let old =
            (first..(now + 1).saturating_sub(COUNTED_S)).map(|second| self.bucket(second).swap(0, Relaxed));
        let old = old.sum();
        if old > 0 {
            self.take_off(old, now_ns);
        }
    }
}

/// See [`Gate::integral`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Integral {
    area_us: u64,
    at_ns: u64,
}

impl Integral {
    /// When.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// The mean of requests in flight since `earlier`.
    pub fn mean_since(&self, earlier: &Self) -> f64 {
        // Workers' clocks may differ by a moment, by which the difference may be negative.
        let area_us = (self.area_us.wrapping_sub(earlier.area_us) << COUNT_BITS).cast_signed() >> COUNT_BITS;
        let elapsed_us = self.at_ns.saturating_sub(earlier.at_ns) / 1_000;
        if elapsed_us == 0 { 0.0 } else { area_us.max(0) as f64 / elapsed_us as f64 }
    }
}

fn micros(now_ns: u64) -> u64 {
    (now_ns / 1_000) & ((1 << TIME_BITS) - 1)
}

fn second(now_ns: u64) -> u32 {
    // 136 years of uptime.
    (now_ns / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn places_are_counted_and_their_mean_is_exact() {
        let gate = Gate::default();
        let start = gate.integral(5 * S);
        assert!(gate.try_enter(2, 5 * S));
        assert!(gate.try_enter(2, 6 * S));
        assert!(!gate.try_enter(2, 6 * S));
        gate.leave(5 * S, 8 * S);
        assert_eq!((gate.in_flight(), gate.integral(9 * S).mean_since(&start)), (1, (3.0 + 3.0) / 4.0));
        gate.leave(6 * S, 9 * S);
        assert_eq!((gate.in_flight(), gate.integral(11 * S).mean_since(&start)), (0, 1.0));
        assert_eq!(gate.integral(11 * S).mean_since(&gate.integral(10 * S)), 0.0);
    }

    #[test]
    fn what_waits_by_design_counts_no_more_and_leaves_nothing_behind() {
        for gap in [1, 9, 30] {
            let gate = Gate::default();
            assert!(gate.try_enter(3, S) && gate.try_enter(3, 2 * S));
            let later = (11 + gap) * S;
            assert!(gate.try_enter(3, later - 1) && gate.try_enter(3, later));
            assert_eq!(gate.in_flight(), 2, "those of the first seconds are not counted");
            gate.leave(S, later);
            gate.leave(later, later + 1);
            assert_eq!(gate.in_flight(), 1);
            gate.leave(2 * S, later + 2);
            gate.leave(later - 1, later + 3);
            assert_eq!(gate.in_flight(), 0);
            assert_eq!(gate.integral(later + 20 * S).mean_since(&gate.integral(later + 10 * S)), 0.0);
        }
    }

    #[test]
    fn the_newest_samples_are_read_back() {
        let gate = Gate::default();
        let now = 5_000 * S;
        for number in 0..2_000 {
            gate.answered(now - S, now - S + number * 1_000);
        }
        let mut samples = Vec::new();
        gate.samples(1_990, now, &mut samples);
        assert_eq!(samples.len(), 10);
        assert_eq!(samples[9], Sample { sent_ns: now - S, latency_s: 1.999e-3 });
        gate.samples(0, now, &mut samples);
        assert_eq!(samples.len(), SAMPLES_MAX);
    }

    #[test]
    fn workers_share_the_places() {
        let gate = Gate::default();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let gate = &gate;
                scope.spawn(move || {
                    for turn in 0..20_000_u64 {
                        let now = turn * 1_000_000 + worker;
                        if gate.try_enter(3, now) {
                            assert!(gate.in_flight() <= 3);
                            gate.leave(now, now + 500);
                        }
                    }
                });
            }
        });
        assert_eq!(gate.in_flight(), 0);
    }
}
