//! What an authority says of a certificate (RFC 6960), before it is handed on to clients: some end a handshake over a response that does not say
//! that all is well, and none is better off with it. Who has signed it is for them to check, who know whom they believe.

use std::ops::RangeInclusive;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::inspect::parse;

/// A clock may be wrong by this, in seconds.
const SKEW: i64 = 300;
/// A response that does not say until when it holds is handed on for this long, in seconds: a week.
const UNTIL_DEFAULT: i64 = 7 * 86_400;

/// Why a response is not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unstapled {
    /// It is none, or none about certificates.
    #[error("tls.ocsp is no OCSP response that says anything of a certificate, in DER")]
    Malformed,
    /// It is about others.
    #[error("tls.ocsp says nothing of this certificate: it is of another one, or of another authority's")]
    Elsewhere,
    /// It says so.
    #[error("tls.ocsp says that the certificate is revoked")]
    Revoked,
    /// It says so.
    #[error("tls.ocsp says that its authority does not know the certificate")]
    Unknown,
    /// Its time is over.
    #[error("tls.ocsp holds no more: a new response is needed")]
    Stale,
    /// Its time has not come.
    #[error("tls.ocsp does not hold yet: is the clock right?")]
    Early,
}

impl Unstapled {
    /// Its word in metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "ocsp_malformed",
            Self::Elsewhere => "ocsp_other_certificate",
            Self::Revoked => "ocsp_revoked",
            Self::Unknown => "ocsp_unknown",
            Self::Stale => "ocsp_stale",
            Self::Early => "ocsp_not_yet_valid",
        }
    }
}

/// Whether a response says now that all is well with a leaf.
pub(super) fn check(response: &[u8], leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Unstapled> {
    let leaf = parse(leaf).map_err(|_| Unstapled::Elsewhere)?;
    let singles = singles(response).ok_or(Unstapled::Malformed)?;
    let mut singles = Der(singles);
    while !singles.0.is_empty() {
        let single = singles.take(SEQUENCE).and_then(Single::read).ok_or(Unstapled::Malformed)?;
        if single.serial == leaf.raw_serial() && single.is_of(leaf.issuer().as_raw()) {
            return single.judge(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }
    Err(Unstapled::Elsewhere)
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const TAGGED_0: u8 = 0xa0;
const TAGGED_2: u8 = 0xa2;
/// `good` and `unknown` are `NULL`, and `revoked` says when.
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;

/// id-pkix-ocsp-basic.
const BASIC: [u8; 9] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// The contents of `responses` (RFC 6960 §4.2.1).
fn singles(response: &[u8]) -> Option<&[u8]> {
    let mut all = Der(response);
    let mut response = Der(all.take(SEQUENCE).filter(|_| all.0.is_empty())?);
    response.take(ENUMERATED).filter(|status| *status == [0])?;
    let mut bytes = Der(Der(response.take(TAGGED_0)?).take(SEQUENCE)?);
    bytes.take(OBJECT).filter(|kind| *kind == BASIC)?;
    let mut basic = Der(Der(bytes.take(OCTETS)?).take(SEQUENCE)?);
    let mut data = Der(basic.take(SEQUENCE)?);
    // The version, where it is another than the first.
    let _ = data.take(TAGGED_0);
    // Who has signed it: a name, or the hash of a key.
    data.take_any().filter(|(tag, _)| (0xa1..=TAGGED_2).contains(tag))?;
    data.take(TIME)?;
    data.take(SEQUENCE).filter(|singles| !singles.is_empty())
}

/// What is said of one certificate.
struct Single<'a> {
    hash: &'a [u8],
    issuer: &'a [u8],
    serial: &'a [u8],
    status: u8,
    since: i64,
    until: i64,
}

impl<'a> Single<'a> {
    fn read(content: &'a [u8]) -> Option<Self> {
        let mut single = Der(content);
        let mut id = Der(single.take(SEQUENCE)?);
        let hash = Der(id.take(SEQUENCE)?).take(OBJECT)?;
        let issuer = id.take(OCTETS)?;
        id.take(OCTETS)?;
        let serial = id.take(INTEGER)?;
        let (status, _) = single.take_any()?;
        let since = unix(single.take(TIME)?)?;
        let until = match single.take(TAGGED_0) {
            Some(next) => unix(Der(next).take(TIME)?)?,
            None => since.saturating_add(UNTIL_DEFAULT),
        };
        Some(Self { hash, issuer, serial, status, since, until })
    }

    /// Whether the authority with this name is meant.
    fn is_of(&self, name: &[u8]) -> bool {
        let algorithm: &Algorithm = match self.hash {
            [0x2b, 0x0e, 0x03, 0x02, 0x1a] => &SHA1_FOR_LEGACY_USE_ONLY,
            [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01] => &SHA256,
            [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02] => &SHA384,
            [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03] => &SHA512,
            _ => return false,
        };
        digest(algorithm, name).as_ref() == self.issuer
    }

    fn judge(&self, now: i64) -> Result<(), Unstapled> {
        match self.status {
            REVOKED => Err(Unstapled::Revoked),
            GOOD if now < self.since.saturating_sub(SKEW) => Err(Unstapled::Early),
            GOOD if now > self.until => Err(Unstapled::Stale),
            GOOD => Ok(()),
            _ => Err(Unstapled::Unknown),
        }
    }
}

/// What is left of the content of something in DER (X.690).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.take_any().map(|(_, content)| content)
    }

    fn take_any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            // A response has at most 64 KiB: lengths have three bytes at most.
            0x81..=0x83 => {
                let (bytes, content) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = content;
                bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, left) = rest.split_at_checked(length)?;
        self.0 = left;
        Some((tag, content))
    }
}

/// `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5.2), in seconds since 1970.
fn unix(time: &[u8]) -> Option<i64> {
    let digits = time.strip_suffix(b"Z").filter(|digits| digits.len() == 14)?;
    let number = |part: &[u8], range: RangeInclusive<i64>| {
        let digit =
            |number: i64, byte: &u8| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'));
        part.iter().try_fold(0, digit).filter(|number| range.contains(number))
    };
    let (date, clock) = digits.split_at(8);
    let (year, rest) = date.split_at(4);
    let (month, day) = rest.split_at(2);
    let (year, month, day) = (number(year, 1970..=9999)?, number(month, 1..=12)?, number(day, 1..=31)?);
    let (hour, rest) = clock.split_at(2);
    let (minute, second) = rest.split_at(2);
    let (hour, minute, second) = (number(hour, 0..=23)?, number(minute, 0..=59)?, number(second, 0..=60)?);
    // Days from the first of March of the year 0 (H. Hinnant, "chrono-compatible low-level date algorithms").
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests;
