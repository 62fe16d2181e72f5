//! What needs no request to happen: trials that are over, shares that have grown, and endpoints that are worse than the others.
//! Done every second or so by the control thread.

use super::{Cause, ClusterHealth, Health, MS, Phase};

/// Endpoints with enough requests below which a standard deviation says nothing.
pub(super) const DEVIATION_ENDPOINTS_MIN: usize = 5;

/// An endpoint's successes among its requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Requests.
    pub total: u64,
    /// Those that did not fail.
    pub successes: u64,
}

impl ClusterHealth {
    /// Looks through the cluster's endpoints. `random` yields 64 random bits per call.
    pub fn sweep(&self, endpoints: &[&Health], now_ns: u64, random: &mut impl FnMut() -> u64) {
        let rules = self.rules();
        for health in endpoints {
            let standing = health.standing();
            if standing.phase == Phase::Trial && now_ns / MS >= standing.at_ms {
                health.fail_again(self, standing.generation, now_ns / MS, random());
            }
            if standing.ramping {
                health.change(self, |standing| standing.grown(now_ns / MS, rules.slow_start_ms));
            }
        }
        if rules.ejection.deviation_permille == 0 {
            return;
        }
        let samples: Vec<_> = endpoints
            .iter()
            .map(|health| {
                let counts = health.counts(self, now_ns);
                Sample { total: counts.total, successes: counts.total.saturating_sub(counts.failures) }
            })
            .collect();
        for index in deviating(&samples, rules.ejection.requests_min, rules.ejection.deviation_permille) {
            let health = endpoints[index];
            if health.standing().phase == Phase::In {
                health.eject(self, &rules.ejection, Cause::Deviation, now_ns / MS, random());
            }
        }
    }
}

/// Which endpoints have a success rate below `mean − deviations · σ` (σ: the population's). Endpoints with fewer than `requests_min`
/// requests are not looked at; with fewer than five left, nobody is. If k of n are equally bad, the rule sees them only while
/// `√((n − k)/k)` is more than the factor: it is never enough alone.
pub fn deviating(samples: &[Sample], requests_min: u32, deviation_permille: u32) -> Vec<usize> {
    let enough = u64::from(requests_min.max(1));
    let rates: Vec<(usize, f64)> = samples
        .iter()
        .enumerate()
        .filter(|(_, sample)| sample.total >= enough)
        .map(|(index, sample)| (index, sample.successes as f64 * 100.0 / sample.total as f64))
        .collect();
    if rates.len() < DEVIATION_ENDPOINTS_MIN {
        return Vec::new();
    }
    let threshold = threshold(&rates, f64::from(deviation_permille) / 1_000.0);
    rates.into_iter().filter(|(_, rate)| *rate < threshold).map(|(index, _)| index).collect()
}

fn threshold(rates: &[(usize, f64)], deviations: f64) -> f64 {
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    mean - deviations * variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rates: &[u64]) -> Vec<Sample> {
        rates.iter().map(|rate| Sample { total: 100, successes: *rate }).collect()
    }

    #[test]
    fn the_threshold_of_the_worked_example_is_52() {
        let rates: Vec<_> = [50.0, 100.0, 100.0, 100.0, 100.0].into_iter().enumerate().collect();
        assert!((threshold(&rates, 1.9) - 52.0).abs() < 1e-9);
    }

    #[test]
    fn only_few_bad_ones_among_many_deviate() {
        let none = Vec::<usize>::new();
        for (rates, expected) in [
            (&[50, 100, 100, 100, 100][..], vec![0]),
            (&[53, 100, 100, 100, 100], vec![0]),
            (&[100, 100, 0, 100, 100, 100], vec![2]),
            // Three of ten, however bad: √(7/3) = 1.53 deviations.
            (&[0, 0, 0, 100, 100, 100, 100, 100, 100, 100], none.clone()),
            (&[0, 0, 100, 100, 100, 100, 100, 100, 100, 100], vec![0, 1]),
            (&[0, 100, 100, 100], none.clone()),
            (&[90; 8], none.clone()),
        ] {
            assert_eq!(deviating(&samples(rates), 100, 1_900), expected, "{rates:?}");
        }
        assert_eq!(deviating(&samples(&[50, 100, 100, 100, 100]), 101, 1_900), none, "too few requests");
    }
}
