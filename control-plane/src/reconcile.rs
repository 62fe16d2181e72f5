//! The loops. The first: read, compile, publish, beat. It does the same work in each interval, whether or not anything has changed, so
//! that a busy day is no different from a quiet one, and what was missed once is made good the next time. The second, far
//! slower: collect.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::state::ControlPlane;

/// Turns the loop until `stop` says true.
pub(crate) async fn run(control_plane: Arc<ControlPlane>, mut stop: watch::Receiver<bool>) {
    loop {
        let started = Instant::now();
        control_plane.turn().await;
        let pause = pause(control_plane.interval(), started.elapsed(), fastrand::f64());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = control_plane.pushed() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Collects about once in a `period` until `stop` says true; never, if that is zero. All replicas may do it: to remove what is
/// gone already is no failure.
pub(crate) async fn collect(
    control_plane: Arc<ControlPlane>,
    period: Duration,
    mut stop: watch::Receiver<bool>,
) {
    // The first time anywhere in the period: replicas spread out, and one that is often restarted still has its turn.
    let mut pause = period.mul_f64(fastrand::f64());
    while !period.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        control_plane.collect().await;
        pause = jittered(period, fastrand::f64());
    }
}

/// What is left of the interval after a turn that took `taken`. At least as long as the turn: a configuration too large for its
/// interval takes half of a processor, not all of it.
fn pause(interval: Duration, taken: Duration, random: f64) -> Duration {
    jittered(interval, random).saturating_sub(taken).max(taken)
}

/// `interval` ± 20 %, so that replicas don't meet at the store; `random` is from 0 to 1.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.8 + 0.4 * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_varies_by_a_fifth() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0.0), Duration::from_millis(800));
        assert_eq!(jittered(second, 0.5), second);
        assert_eq!(jittered(second, 1.0), Duration::from_millis(1_200));
    }

    #[test]
    fn a_long_turn_is_followed_by_as_long_a_pause() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, Duration::from_millis(100), 0.5), Duration::from_millis(900));
        assert_eq!(pause(second, Duration::from_secs(3), 0.5), Duration::from_secs(3));
    }
}
