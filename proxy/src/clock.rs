//! The one clock of the request path: nanoseconds since the process started. Everything else takes `now_ns`.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// tokio's instants are the system's, except in tests that pause time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the first call in this process.
pub fn now_ns() -> u64 {
    START.elapsed().as_nanos() as u64
}

thread_local! {
    static RESUMED_NS: Cell<u64> = const { Cell::new(0) };
}

/// When this worker went on after it had been halted: its process was stopped, its machine suspended, or it got no time for long. 0 if it never was.
/// What was under way then may be late for no other reason.
pub fn resumed_ns() -> u64 {
    RESUMED_NS.get()
}

/// This worker goes on.
pub fn resume(now_ns: u64) {
    RESUMED_NS.set(now_ns);
}

/// The instant that is `at_ns` on this clock.
pub fn instant(at_ns: u64) -> Instant {
    *START + Duration::from_nanos(at_ns)
}

/// A time limit in milliseconds as nanoseconds; 0 is no limit.
pub fn limit_ns(limit_ms: u64) -> Option<u64> {
    (limit_ms != 0).then(|| limit_ms.saturating_mul(1_000_000))
}
