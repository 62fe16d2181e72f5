//! When a certificate is renewed, and when a try that failed is made again. Pure: the time and chance are arguments.

use std::time::Duration;

/// Part of its life after which a certificate is renewed at the earliest.
pub const EARLIEST: f64 = 1.0 / 3.0;
/// By how much of its life chance puts that off: those that were made together are not renewed together.
pub const SPREAD: f64 = 0.1;
/// Longest pause after the first failure; it doubles with each.
pub const PAUSE_FIRST: Duration = Duration::from_secs(5);
/// Longest pause while there is a certificate to go on with.
pub const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Longest pause while there is none: nothing works until it comes.
pub const PAUSE_WITHOUT_MAX: Duration = Duration::from_secs(30);
/// Shortest pause.
pub const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest that a control plane is believed that asks to be left alone.
pub const HELD_OFF_MAX: Duration = Duration::from_secs(60);
/// The least number of tries in what is left of a certificate's life.
const TRIES_LEFT: u32 = 4;

/// When a certificate is to be renewed that came into force at `since` and ends at `until`, in seconds since 1970; `random` is from 0 to 1.
pub fn due(since: u64, until: u64, random: f64) -> u64 {
    let life = until.saturating_sub(since) as f64;
    since + (life * (EARLIEST + SPREAD * random)) as u64
}

/// How long to wait after so many failures in a row (at least 1), with what is `left` of the certificate's life, if there is one: full
/// jitter, doubling, and never so long that fewer than four tries are left. Who is `held_off` waits that long and a little more, not less,
/// since nothing would be looked at, and not longer, since what was wrong may be mended by then.
pub fn pause(failures: u32, left: Option<Duration>, held_off: Option<Duration>, random: f64) -> Duration {
    if let Some(held_off) = held_off {
        return held_off.min(HELD_OFF_MAX) + PAUSE_FIRST.mul_f64(random).max(PAUSE_MIN);
    }
    let doubled = PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let longest = match left {
        Some(left) => doubled.min(PAUSE_MAX).min(left / TRIES_LEFT),
        None => doubled.min(PAUSE_WITHOUT_MAX),
    };
    longest.mul_f64(random).max(PAUSE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_and_a_little_more_are_over() {
        const HOUR: u64 = 3_600;
        for (random, hours) in [(0.0, 24.0), (0.5, 27.6), (1.0, 31.2)] {
            let due = due(1_000_000, 1_000_000 + 72 * HOUR, random);
            assert!(((due - 1_000_000) as f64 / HOUR as f64 - hours).abs() < 0.01, "{random}: {due}");
        }
        assert_eq!(due(1_000, 900, 0.5), 1_000, "one that is over is due");
    }

    #[test]
    fn pauses_double_up_to_their_bounds_and_leave_time_for_more_tries() {
        let (day, seconds) = (Some(Duration::from_secs(86_400)), Duration::from_secs);
        for (failures, left, longest) in [
            (1, day, seconds(5)),
            (2, day, seconds(10)),
            (6, day, seconds(160)),
            (7, day, seconds(300)),
            (u32::MAX, day, seconds(300)),
            (7, Some(seconds(8)), seconds(2)),
            (3, None, seconds(20)),
            (9, None, seconds(30)),
        ] {
            assert_eq!(pause(failures, left, None, 1.0), longest, "{failures} {left:?}");
            assert_eq!(pause(failures, left, None, 0.5), longest / 2, "{failures} {left:?}");
            assert_eq!(pause(failures, left, None, 0.0), PAUSE_MIN);
        }
        assert_eq!(pause(1, Some(Duration::ZERO), None, 1.0), PAUSE_MIN);
        for left in [None, Some(seconds(2)), day] {
            for (held_off, least) in
                [(seconds(0), seconds(0)), (seconds(6), seconds(6)), (Duration::MAX, seconds(60))]
            {
                let within = |random| pause(9, left, Some(held_off), random);
                assert_eq!(
                    (within(0.0), within(1.0)),
                    (least + PAUSE_MIN, least + seconds(5)),
                    "{left:?} {held_off:?}"
                );
            }
        }
    }
}
