//! The latency estimate of one endpoint: a moving average that follows every peak at once and forgets it slowly.
//!
//! `estimate = rtt` where `rtt` is larger, else `estimate·w + rtt·(1 − w)` with `w = exp(−Δt/τ)` (peak-EWMA, as in Finagle and
//! Linkerd). Unlike theirs, a read decays without writing back: it is one relaxed load, so that workers that pick at the same
//! time share the cache line instead of passing it around.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Time constant of the decay: after it, a peak counts for 1/e.
pub const DECAY: Duration = Duration::from_secs(10);

/// The least an estimate decays to. Below it endpoints are equally good, and only what is in flight decides.
pub const ESTIMATE_FLOOR: Duration = Duration::from_micros(10);

/// A wait that was given up says something of an endpoint that never answered only from here on.
pub const LONG_IN_ITSELF: Duration = Duration::from_millis(100);

/// One tick of the stamp is 2^20 ns, about a millisecond; 32 bits of them last 52 days.
const TICK_SHIFT: u32 = 20;

/// Multiplies a number of ticks into a number of halvings of the weight.
const HALVINGS_PER_TICK: f32 =
    ((1_u64 << TICK_SHIFT) as f64 / DECAY.as_nanos() as f64 * std::f64::consts::LOG2_E) as f32;

/// Beyond this many halvings a weight is zero.
const HALVINGS_MAX: f32 = 60.0;

/// A latency estimate that any number of threads read and write.
///
/// Estimate and stamp share one word (`f32` nanoseconds above, `u32` ticks below), so that no reader decays a new estimate by an
/// old stamp. The word 0 is "never observed".
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Takes in one round trip of `rtt_ns` that ended at `now_ns` (nanoseconds since the process started).
    pub fn observe(&self, rtt_ns: u64, now_ns: u64) {
        self.update(now_ns, |before| match before {
            Some((estimate, weight)) => blend(estimate, weight, rtt_ns as f32),
            None => Some(rtt_ns as f32),
        });
    }

    /// Takes in a round trip that was given up after `elapsed_ns`: it took at least that long, so it can only raise the estimate,
    /// and make one only if that is long: a client that leaves at once says nothing.
    pub fn observe_at_least(&self, elapsed_ns: u64, now_ns: u64) {
        let elapsed = elapsed_ns as f32;
        self.update(now_ns, |before| match before {
            Some((estimate, weight)) => (elapsed > estimate * weight).then_some(elapsed),
            None => (elapsed_ns >= LONG_IN_ITSELF.as_nanos() as u64).then_some(elapsed),
        });
    }

    /// Forgets all observations: what they were of has changed.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    /// The estimate at `now_ns`, in nanoseconds, at least [`ESTIMATE_FLOOR`]; `None` before the first observation.
    pub fn read(&self, now_ns: u64) -> Option<f32> {
        let (estimate, stamp) = unpack(self.0.load(Relaxed))?;
        Some((estimate * weight_after(stamp, ticks(now_ns))).max(ESTIMATE_FLOOR.as_nanos() as f32))
    }

    /// Replaces the estimate by what `next` makes of the old one and its weight; `None` leaves it alone.
    fn update(&self, now_ns: u64, next: impl Fn(Option<(f32, f32)>) -> Option<f32>) {
        let now = ticks(now_ns);
        // An `Err` means that `next` saw no reason to write.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |word| {
            let before = unpack(word);
            // Workers read their coarse clocks at different moments: the stamp never moves backwards.
            let stamp =
                before.map_or(now, |(_, stamp)| if ticks_since(stamp, now) > 0 { now } else { stamp });
            next(before.map(|(estimate, stamp)| (estimate, weight_after(stamp, now))))
                .map(|estimate| pack(estimate.max(1.0), stamp))
        });
    }
}

fn blend(estimate: f32, weight: f32, rtt: f32) -> Option<f32> {
    Some(if rtt > estimate { rtt } else { estimate * weight + rtt * (1.0 - weight) })
}

fn pack(estimate: f32, stamp: u32) -> u64 {
    (u64::from(estimate.to_bits()) << 32) | u64::from(stamp)
}

fn unpack(word: u64) -> Option<(f32, u32)> {
    (word != 0).then(|| (f32::from_bits((word >> 32) as u32), word as u32))
}

fn ticks(now_ns: u64) -> u32 {
    (now_ns >> TICK_SHIFT) as u32
}

/// Ticks from `stamp` to `now`, through the wrap of the counter; 0 where `now` is the earlier one.
fn ticks_since(stamp: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(stamp);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

/// `exp(−elapsed/τ)`, within 0.1 %: the whole halvings go straight into the exponent of the float, the rest through the series
/// of 2^−x, whose last coefficient is chosen so that it meets the next halving exactly.
fn weight_after(stamp: u32, now: u32) -> f32 {
    let halvings = ticks_since(stamp, now) as f32 * HALVINGS_PER_TICK;
    if halvings >= HALVINGS_MAX {
        return 0.0;
    }
    let whole = halvings as u32;
    let rest = halvings - whole as f32;
    let series =
        1.0 + rest * (-std::f32::consts::LN_2 + rest * (0.240_227 + rest * (-0.055_504 + rest * 0.008_424)));
    series * f32::from_bits((127 - whole) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_fast_exponential_is_right_and_falls() {
        let mut last = 1.1;
        for tick in (0..500_000_u32).step_by(97) {
            let weight = weight_after(7, 7 + tick);
            let exact = (-f64::from(tick) * (1 << TICK_SHIFT) as f64 / 1e10).exp();
            assert!(
                (f64::from(weight) - exact).abs() <= exact * 1e-3 + 1e-15,
                "{tick}: {weight} for {exact}"
            );
            assert!(weight < last || weight == 0.0, "{tick}: does not fall");
            last = weight;
        }
        assert_eq!(weight_after(0, u32::MAX / 2), 0.0);
    }

    #[test]
    fn follows_a_peak_at_once_and_forgets_it_slowly() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.read(0), None);
        ewma.observe(5 * MS, 1_000 * MS);
        ewma.observe(100 * MS, 1_000 * MS);
        assert_eq!(ewma.read(1_000 * MS), Some(100.0 * MS as f32));
        let later = ewma.read(11_000 * MS).unwrap() / MS as f32;
        assert!((later - 36.79).abs() < 0.1, "1/e after one time constant, not {later}");
        ewma.observe(5 * MS, 11_000 * MS);
        let blended = ewma.read(11_000 * MS).unwrap() / MS as f32;
        assert!((blended - 39.95).abs() < 0.1, "100/e + 5·(1 − 1/e), not {blended}");
    }

    #[test]
    fn a_request_given_up_only_raises() {
        let ewma = PeakEwma::default();
        ewma.observe_at_least(50 * MS, 0);
        assert_eq!(ewma.read(0), None, "how long it would have taken is not known");
        let hangs = PeakEwma::default();
        hangs.observe_at_least(500 * MS, 0);
        assert_eq!(hangs.read(0), Some(500.0 * MS as f32), "but this was long");
        ewma.observe(20 * MS, 0);
        ewma.observe_at_least(5 * MS, 0);
        assert_eq!(ewma.read(0), Some(20.0 * MS as f32));
        ewma.observe_at_least(80 * MS, 0);
        assert_eq!(ewma.read(0), Some(80.0 * MS as f32));
    }

    #[test]
    fn a_clock_that_lags_and_one_that_wraps_do_no_harm() {
        let ewma = PeakEwma::default();
        ewma.observe(20 * MS, 50_000 * MS);
        ewma.observe(30 * MS, 40_000 * MS);
        assert_eq!(ewma.read(50_000 * MS), Some(30.0 * MS as f32), "observed at 40 s, stamped 50 s");

        let wrap_ns = (u64::from(u32::MAX) + 1) << TICK_SHIFT;
        let ewma = PeakEwma::default();
        ewma.observe(100 * MS, wrap_ns - 5_000 * MS);
        let across = ewma.read(wrap_ns + 5_000 * MS).unwrap() / MS as f32;
        assert!((across - 36.79).abs() < 0.1, "ten seconds passed, not {across}");
    }

    #[test]
    fn decays_to_the_floor_and_no_further() {
        let ewma = PeakEwma::default();
        ewma.observe(1_000 * MS, 0);
        assert_eq!(ewma.read(3_600_000 * MS), Some(ESTIMATE_FLOOR.as_nanos() as f32));
    }
}
