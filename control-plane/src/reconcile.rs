//! The loop: read, compile, publish, beat. It does the same work in each interval, whether or not anything has changed, so
//! that a busy day is no different from a quiet one, and what was missed once is made good the next time.

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
        let pause = jittered(control_plane.interval(), fastrand::f64()).saturating_sub(started.elapsed());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = control_plane.pushed() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
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
}
