//! Waiting for something to become true.

use std::future::Future;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks at `condition` until it yields something.
///
/// # Panics
/// When `deadline` has passed, saying `what` was waited for.
pub async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        let found = within(deadline, what, condition()).await;
        if let Some(found) = found {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The result of `work`.
///
/// # Panics
/// When it takes longer than `deadline`, saying `what` was waited for.
pub async fn within<T>(deadline: Duration, what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(deadline, work).await;
    assert!(done.is_ok(), "not within {deadline:?}: {what}");
    done.expect("checked one line above")
}
