//! What time of day it was: requests are stamped on [`clock`], collectors count since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock;

/// What time it was once, on both clocks, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    now_unix_ns: u64,
    now_ns: u64,
}

impl Times {
    /// By what time it is. The clocks drift: not for long.
    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now_unix_ns: now.as_nanos() as u64, now_ns: clock::now_ns() }
    }

    /// The nanoseconds since 1970 at `at_ns` on [`clock`].
    pub fn of(&self, at_ns: u64) -> u64 {
        self.now_unix_ns.wrapping_add(at_ns).saturating_sub(self.now_ns)
    }
}
