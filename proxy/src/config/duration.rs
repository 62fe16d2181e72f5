//! Durations as people write them: `500ms`, `1s`, `2m`, `1h`.

use std::time::Duration;

/// A whole number and its unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let unreadable = || "expected a whole number and a unit, such as 500ms, 1s, 2m or 1h".to_owned();
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(unreadable)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| unreadable())?;
    let unit_milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(unreadable()),
    };
    number.checked_mul(unit_milliseconds).map(Duration::from_millis).ok_or_else(unreadable)
}
