//! A running quantile in one word: each value moves the estimate up or down by a small share of itself, so that it comes to rest where the
//! wanted share of values lies below (stochastic approximation, Robbins and Monro 1951, on a logarithmic scale).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// By how much one value moves the estimate, at most.
const STEP: f64 = 0.05;

/// See the module. Shared by workers; a value that is lost in a race is no loss.
#[derive(Debug, Default)]
pub struct Quantile(AtomicU64);

impl Quantile {
    /// Takes in a value; `percentile` must be the same each time.
    pub fn observe(&self, value: u64, percentile: u32) {
        let share = f64::from(percentile) / 100.0;
        let next = match self.read() {
            None => value.max(1) as f64,
            Some(estimate) => {
                let below = if value <= estimate { 1.0 } else { 0.0 };
                estimate as f64 * (1.0 + STEP * (share - below))
            }
        };
        self.0.store(next.to_bits(), Relaxed);
    }

    /// The estimate; `None` before the first value.
    pub fn read(&self) -> Option<u64> {
        let estimate = f64::from_bits(self.0.load(Relaxed));
        (estimate > 0.0).then(|| estimate.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_to_rest_at_its_share() {
        for (percentile, expected) in [(50, 500_000.0), (90, 900_000.0), (95, 950_000.0)] {
            let (quantile, mut random) = (Quantile::default(), fastrand::Rng::with_seed(7));
            assert_eq!(quantile.read(), None);
            let (mut sum, mut count) = (0.0, 0.0);
            for step in 0..20_000 {
                quantile.observe(random.u64(1..=1_000_000), percentile);
                if step >= 10_000 {
                    sum += quantile.read().unwrap() as f64;
                    count += 1.0;
                }
            }
            let error = (sum / count - expected).abs() / expected;
            assert!(error < 0.05, "{percentile}: {error}");
        }
    }
}
