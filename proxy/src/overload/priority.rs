//! How much a request matters, as its caller says.

use http::header::{HeaderName, HeaderValue};
use outrigger_snapshot::head::RequestHead;

/// `0` (critical) to `3` (to be dropped first).
pub const PRIORITY: HeaderName = HeaderName::from_static("outrigger-priority");
/// Which try of the same request this is, from 1.
pub const ATTEMPT: HeaderName = HeaderName::from_static("outrigger-attempt");

/// Classes.
pub const CLASSES: usize = 4;

/// Share of the limit up to which each class is admitted, per cent.
const SHARE_PERCENT: [u32; CLASSES] = [100, 90, 75, 60];

/// A class of requests; the smaller, the more important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// Work that must not fail.
    pub const CRITICAL: Self = Self(0);
    /// Where nobody says otherwise.
    pub const DEFAULT: Self = Self(1);
    /// Work that can be done another time.
    pub const LOWEST: Self = Self(3);

    /// What the fields of a request say; those of strangers are gone by then.
    pub fn of(head: &RequestHead) -> Self {
        Self::read(head.header(&PRIORITY), head.header(&ATTEMPT))
    }

    /// What the fields of a trusted caller say. A value that is none of the four does not count; a try that is not the first matters
    /// less, so that retries go before first tries do.
    pub fn read(priority: Option<&HeaderValue>, attempt: Option<&HeaderValue>) -> Self {
        let class = match priority.map(HeaderValue::as_bytes) {
            Some([digit @ b'0'..=b'3']) => digit - b'0',
            _ => Self::DEFAULT.0,
        };
        Self((class + u8::from(attempt.is_some_and(is_repeated))).min(Self::LOWEST.0))
    }

    /// As [`PRIORITY`] spells it.
    pub fn to_value(self) -> HeaderValue {
        HeaderValue::from(u16::from(self.0))
    }

    /// The class, from 0.
    pub fn class(self) -> usize {
        usize::from(self.0)
    }

    /// Its part of `limit`, rounded down, so that there is a place for the critical also where few are; at least 1, so that every class gets
    /// something while nothing else is there.
    pub fn share(self, limit: u32) -> u32 {
        (u64::from(limit) * u64::from(SHARE_PERCENT[self.class()]) / 100).max(1) as u32
    }
}

/// Whether the value of [`ATTEMPT`] says that the request was sent before.
pub fn is_repeated(attempt: &HeaderValue) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let text = attempt.to_str().unwrap_or_default();
    digits(text) && !matches!(text.trim_start_matches('0'), "" | "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_as_specified_counts() {
        let read = |priority: Option<&'static str>, attempt: Option<&'static str>| {
            let value = |text: &'static str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
            Priority::read(priority.map(value).as_ref(), attempt.map(value).as_ref()).class()
        };
        for (priority, attempt, class) in [
            (None, None, 1),
            (Some("0"), None, 0),
            (Some("3"), None, 3),
            (Some("4"), None, 1),
            (Some("-1"), None, 1),
            (Some("00"), None, 1),
            (Some(""), None, 1),
            (Some("9999999999999999999999"), None, 1),
            (Some("\u{b9}"), None, 1),
            (Some("0"), Some("1"), 0),
            (Some("0"), Some("2"), 1),
            (Some("3"), Some("2"), 3),
            (None, Some("99999999999999999999"), 2),
            (None, Some("0"), 1),
            (None, Some("two"), 1),
            (None, Some("-2"), 1),
            (None, Some(""), 1),
        ] {
            assert_eq!(read(priority, attempt), class, "{priority:?} {attempt:?}");
        }
    }

    #[test]
    fn lesser_classes_stop_earlier() {
        let shares = |limit| [0, 1, 2, 3].map(|class| Priority(class).share(limit));
        assert_eq!(shares(100), [100, 90, 75, 60]);
        assert_eq!(shares(8), [8, 7, 6, 4]);
        assert_eq!(shares(1), [1, 1, 1, 1]);
        assert_eq!(shares(u32::MAX)[0], u32::MAX);
    }
}
