//! What a row of probes says. Time and randomness are the caller's.

use outrigger_snapshot::policy::HealthCheck;

/// Whether an endpoint is well, by its probes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// `None` before there is any.
    well: Option<bool>,
    succeeded: bool,
    /// Results in a row that were like the last.
    run: u32,
}

impl Verdict {
    /// Takes in a result. The first success of all is enough: nothing is held against the endpoint yet.
    pub fn take(&mut self, success: bool, check: &HealthCheck) {
        let first = self.run == 0;
        self.run = if success == self.succeeded { self.run.saturating_add(1) } else { 1 };
        self.succeeded = success;
        let needed = if success { check.healthy } else { check.unhealthy };
        if self.run >= needed || (first && success) {
            self.well = Some(success);
        }
    }

    /// Whether it is well; `None` if that is not known yet.
    pub fn well(self) -> Option<bool> {
        self.well
    }

    /// Milliseconds until the next probe, a fifth more or less: fast while it is not known to be well, or begins to look unwell.
    /// `random` is 64 random bits.
    pub fn wait_ms(self, check: &HealthCheck, random: u64) -> u64 {
        let quiet = self.well == Some(true) && self.succeeded;
        let base = if quiet { check.interval_ms } else { check.fast_interval_ms };
        let jitter = (u128::from(base) * 2 / 5 * u128::from(random)) >> 64;
        (base - base / 5).saturating_add(jitter as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use outrigger_snapshot::policy::Probe;

    use super::*;

    #[test]
    fn thresholds_decide_but_for_the_first_success() {
        let check = HealthCheck::new(Probe::Tcp);
        let (yes, no) = (Some(true), Some(false));
        for (results, expected) in [
            ("+", &[yes][..]),
            ("-", &[None]),
            ("---", &[None, None, no]),
            ("--+", &[None, None, None]),
            ("--++", &[None, None, None, yes]),
            ("+--+---+-++", &[yes, yes, yes, yes, yes, yes, no, no, no, no, yes]),
        ] {
            let mut verdict = Verdict::default();
            let found: Vec<_> = results
                .chars()
                .map(|result| {
                    verdict.take(result == '+', &check);
                    verdict.well()
                })
                .collect();
            assert_eq!(found, expected, "{results}");
        }
    }

    #[test]
    fn it_asks_faster_while_something_is_wrong_and_never_in_step() {
        let check = HealthCheck::new(Probe::Tcp);
        let mut verdict = Verdict::default();
        let range = |verdict: Verdict| (verdict.wait_ms(&check, 0), verdict.wait_ms(&check, u64::MAX));
        assert_eq!(range(verdict), (800, 1_199));
        verdict.take(true, &check);
        assert_eq!(range(verdict), (4_000, 5_999));
        verdict.take(false, &check);
        assert_eq!(range(verdict), (800, 1_199));
    }
}
