//! What time of day it was: requests are stamped on [`clock`], collectors count since 1970.

use std::time::{Duration, SystemTime};

use crate::clock;

/// What time it was once, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    now: SystemTime,
    now_ns: u64,
}

impl Times {
    /// By what time it is. The clocks drift: not for long.
    pub fn now() -> Self {
        Self { now: SystemTime::now(), now_ns: clock::now_ns() }
    }

    /// The time of day at `at_ns` on [`clock`].
    pub fn of(&self, at_ns: u64) -> SystemTime {
        let ago = Duration::from_nanos(self.now_ns.saturating_sub(at_ns));
        let ahead = Duration::from_nanos(at_ns.saturating_sub(self.now_ns));
        self.now.checked_sub(ago).unwrap_or(self.now) + ahead
    }
}
