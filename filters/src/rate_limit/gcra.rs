//! The generic cell rate algorithm (ITU-T I.371, annex A): one timestamp per bucket says when it would be full again.

/// The law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// Between two requests at the sustained rate.
    pub(super) interval_ns: u64,
    /// By how much a bucket may be ahead of the time.
    pub(super) tolerance_ns: u64,
}

impl Gcra {
    /// `requests` per `period_ms` sustained, of which `burst` at once.
    pub fn new(requests: u32, period_ms: u64, burst: u32) -> Self {
        // Rounded up: never more than is allowed.
        let interval_ns = period_ms.saturating_mul(1_000_000).div_ceil(u64::from(requests.max(1))).max(1);
        Self::every(interval_ns, u64::from(burst))
    }

    /// A request each `interval_ns` sustained, and `burst` at once.
    pub(super) fn every(interval_ns: u64, burst: u64) -> Self {
        Self { interval_ns, tolerance_ns: interval_ns.saturating_mul(burst.max(1) - 1) }
    }

    /// Lets a request through at `now_ns` if a bucket that is full again at `full_ns` has room: when it is full again after that. Else how
    /// long it takes until there is room, in nanoseconds.
    pub fn decide(&self, full_ns: u64, now_ns: u64) -> Result<u64, u64> {
        let full_ns = full_ns.max(now_ns);
        match (full_ns - now_ns).checked_sub(self.tolerance_ns) {
            None | Some(0) => Ok(full_ns.saturating_add(self.interval_ns)),
            Some(wait_ns) => Err(wait_ns),
        }
    }
}
