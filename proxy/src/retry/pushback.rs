//! What an upstream says about being asked again.

use http::HeaderMap;
use http::header::{DATE, HeaderName, HeaderValue, RETRY_AFTER};
use smallvec::SmallVec;

/// Longest wait that is honoured; who asks for more is not asked again, and the client is told.
pub const WAIT_MAX_MS: u64 = 3_000;

/// For so long an endpoint that asks for it is left to others; what is more counts as this.
pub const AWAY_MAX_MS: u64 = 60_000;

const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const SHED: HeaderName = HeaderName::from_static("outrigger-shed");
/// Of a response: it failed in spite of retries further down. Of a request: its application retries by itself.
pub const NO_RETRY: HeaderName = HeaderName::from_static("outrigger-no-retry");

/// When it may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    /// It does not say.
    Unsaid,
    /// Not before so many milliseconds, wherever.
    Wait(u64),
    /// The endpoint that says so not before so many milliseconds; others at any time.
    Away(u64),
    /// Not at all, or later than anybody waits.
    Never,
}

impl Pushback {
    /// Reads `grpc-retry-pushback-ms` (gRFC A6), which speaks for the call, and `Retry-After` (RFC 9110 §10.2.3), which speaks for who wrote it:
    /// in seconds, or as a date by the clock of the same, and so from the answer's `Date` on. What cannot be read says nothing. Only who is
    /// `believed` may say that there is no use in retries.
    pub fn of(headers: &HeaderMap, believed: bool) -> Self {
        if believed && headers.contains_key(&NO_RETRY) {
            return Self::Never;
        }
        if let Some(value) = headers.get(&GRPC_PUSHBACK) {
            return Self::within(value.to_str().ok().and_then(|text| text.trim().parse().ok()));
        }
        let Some(value) = headers.get(RETRY_AFTER).map(text) else { return Self::Unsaid };
        let seconds = seconds(value).or_else(|| {
            // One that is past is now.
            let (until, from) = (date_s(value)?, date_s(text(headers.get(DATE)?))?);
            Some(until.saturating_sub(from))
        });
        let away = |seconds: u64| Self::Away(seconds.saturating_mul(1_000).min(AWAY_MAX_MS));
        seconds.map_or(Self::Unsaid, away)
    }

    /// What it means to a retry that would go to the same endpoint.
    pub fn at_the_same(self) -> Self {
        match self {
            Self::Away(wait_ms) => Self::within(Some(wait_ms)),
            other => other,
        }
    }

    fn within(wait_ms: Option<u64>) -> Self {
        match wait_ms {
            Some(wait_ms) if wait_ms <= WAIT_MAX_MS => Self::Wait(wait_ms),
            Some(_) | None => Self::Never,
        }
    }
}

/// A number of seconds, however many digits it has.
fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default().trim()
}

/// A date as HTTP is to write it (RFC 9110 §5.6.7, IMF-fixdate), in seconds since the year 0 began its March; the forms of long ago are not
/// read.
fn date_s(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let parts: SmallVec<[&str; 6]> = rest.split([' ', ':']).take(7).collect();
    let [day, month, year, hours, minutes, seconds] = parts[..] else { return None };
    let number = |text: &str| text.parse::<u16>().ok().map(u64::from);
    let month = MONTHS.iter().position(|known| *known == month)? as u64;
    let (day, year) = (number(day)?, number(year)?);
    let (hours, minutes, seconds) = (number(hours)?, number(minutes)?, number(seconds)?);
    // Years begin in March here, so that the day that some of them have more is the last.
    let (year, month) = if month < 2 { (year.checked_sub(1)?, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

/// Whether a sidecar refused the request unprocessed, to protect its application.
pub fn was_shed(headers: &HeaderMap) -> bool {
    headers.contains_key(&SHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_honoured_within_reason() {
        for (name, value, pushback) in [
            ("retry-after", "0", Pushback::Away(0)),
            ("retry-after", " 2 ", Pushback::Away(2_000)),
            ("retry-after", "60", Pushback::Away(60_000)),
            ("retry-after", "61", Pushback::Away(60_000)),
            ("retry-after", "1000000000000000000000000000000", Pushback::Away(60_000)),
            ("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT", Pushback::Unsaid),
            ("retry-after", "-1", Pushback::Unsaid),
            ("retry-after", "soon", Pushback::Unsaid),
            ("retry-after", "", Pushback::Unsaid),
            ("grpc-retry-pushback-ms", "25", Pushback::Wait(25)),
            ("grpc-retry-pushback-ms", "-1", Pushback::Never),
            ("grpc-retry-pushback-ms", "soon", Pushback::Never),
            ("outrigger-no-retry", "1", Pushback::Never),
            ("x-other", "1", Pushback::Unsaid),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(Pushback::of(&headers, true), pushback, "{name}: {value}");
            let stranger = if name == "outrigger-no-retry" { Pushback::Unsaid } else { pushback };
            assert_eq!(Pushback::of(&headers, false), stranger, "{name}: {value}, of a stranger");
        }
    }

    #[test]
    fn who_would_be_asked_again_is_waited_for_within_reason() {
        for (said, means) in [
            (Pushback::Away(3_000), Pushback::Wait(3_000)),
            (Pushback::Away(3_001), Pushback::Never),
            (Pushback::Never, Pushback::Never),
            (Pushback::Unsaid, Pushback::Unsaid),
        ] {
            assert_eq!(said.at_the_same(), means);
        }
    }

    #[test]
    fn a_date_is_waited_for_by_the_clock_that_it_is_of() {
        for (now, until, pushback) in [
            ("Tue, 29 Feb 2000 23:59:58 GMT", "Wed, 01 Mar 2000 00:00:01 GMT", Pushback::Away(3_000)),
            ("Sun, 28 Feb 2100 23:59:59 GMT", "Mon, 01 Mar 2100 00:00:01 GMT", Pushback::Away(2_000)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", Pushback::Away(1_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", Pushback::Away(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sat, 05 Nov 1994 08:49:37 GMT", Pushback::Away(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:41 GMT", Pushback::Away(4_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:38 GMT", Pushback::Unsaid),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 UTC", Pushback::Unsaid),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:38 GMT", Pushback::Unsaid),
            ("now", "Sun, 06 Nov 1994 08:49:38 GMT", Pushback::Unsaid),
        ] {
            let fields = [(DATE, now), (RETRY_AFTER, until)];
            let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
            assert_eq!(Pushback::of(&HeaderMap::from_iter(fields), true), pushback, "{until} at {now}");
        }
    }
}
