//! Instants, as people write and read them.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::output::Failed;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Milliseconds since 1970 of `2026-05-04T10:00:00Z`, or of `10m ago` as of `now_ms`.
pub(super) fn parse(text: &str, now_ms: u64) -> Result<u64, Failed> {
    if let Some(span) = text.trim().strip_suffix("ago") {
        let span = span.trim();
        let digits = span.find(|character: char| !character.is_ascii_digit()).unwrap_or(span.len());
        let (count, unit) = span.split_at(digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim());
        let ago = unit.and_then(|(_, unit_ms)| count.parse::<u64>().ok()?.checked_mul(*unit_ms));
        return ago.map(|ago| now_ms.saturating_sub(ago)).ok_or_else(|| wrong(text));
    }
    let at = OffsetDateTime::parse(text.trim(), &Rfc3339).map_err(|_| wrong(text))?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).map_err(|_| wrong(text))
}

fn wrong(text: &str) -> Failed {
    Failed::usage(format!("{text:?} is no time: expected one like 2026-05-04T10:00:00Z, or 10m ago"))
}

/// The end of the year 9999.
const LAST_MS: u64 = 253_402_300_799_000;

/// The instant whole, in UTC.
pub(super) fn stamp(unix_ms: u64) -> String {
    let at = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS));
    at.format(&Rfc3339).unwrap_or_else(|_| "?".to_owned())
}

/// The time of day, in UTC.
pub(super) fn clock(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000 % 86_400, unix_ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_written() {
        let now = 1_800_000_000_000;
        for (text, read) in [
            ("2027-01-15T08:00:00Z", Some(now)),
            ("2027-01-15T09:00:00.5+01:00", Some(now + 500)),
            ("10m ago", Some(now - 600_000)),
            ("1h ago", Some(now - 3_600_000)),
            ("250ms ago", Some(now - 250)),
            ("2 d ago", Some(now - 172_800_000)),
            ("yesterday", None),
            ("ago", None),
            ("10 ago", None),
            ("-5m ago", None),
            ("2027-01-15", None),
            ("1950-01-01T00:00:00Z", None),
        ] {
            assert_eq!(parse(text, now).ok(), read, "{text}");
        }
        assert_eq!(stamp(now), "2027-01-15T08:00:00Z");
        assert_eq!(clock(now + 61_002), "08:01:01.002");
    }
}
