//! Durations as people write them: `500ms`, `1s`, `2m`, `1h`.

use std::time::Duration;

use crate::enrol::{LIFETIME_MAX, LIFETIME_MIN};

use super::{COLLECT_EVERY_MAX, INTERVAL_MAX, INTERVAL_MIN};

/// Parses `--interval`.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse(text)?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        Ok(interval)
    } else {
        Err(format!("expected {INTERVAL_MIN:?} to {}s", INTERVAL_MAX.as_secs()))
    }
}

/// Parses `--collect-every`; zero is never.
pub(super) fn parse_collect_every(text: &str) -> Result<Duration, String> {
    let period = parse(text)?;
    if period <= COLLECT_EVERY_MAX { Ok(period) } else { Err("expected at most 720h".to_owned()) }
}

/// Parses `--certificate-lifetime`.
pub(super) fn parse_certificate_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = parse(text)?;
    let within = (LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime);
    if within { Ok(lifetime) } else { Err("expected 10s to 744h".to_owned()) }
}

/// Parses a duration.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unreadable = || "expected a number and a unit, such as 500ms, 1s, 2m or 1h".to_owned();
    let digits = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(unreadable)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| unreadable())?;
    let milliseconds_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(unreadable()),
    };
    number.checked_mul(milliseconds_per_unit).map(Duration::from_millis).ok_or_else(unreadable)
}
