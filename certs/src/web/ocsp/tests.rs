use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber};

use super::*;

const NOW: i64 = 1_750_000_000;
const SHA1: [u8; 5] = [0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA2: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82][..], &length, &content].concat()
}

fn leaf(serial: u64) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.serial_number = Some(SerialNumber::from(serial));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

/// What is said of one certificate.
struct Said {
    hash: &'static [u8],
    status: Vec<u8>,
    since: &'static [u8],
    until: Option<&'static [u8]>,
}

impl Default for Said {
    fn default() -> Self {
        let (since, until) = (&b"20250615000000Z"[..], Some(&b"20250616000000Z"[..]));
        Self { hash: &SHA1, status: vec![GOOD, 0], since, until }
    }
}

impl Said {
    fn of(&self, leaf: &CertificateDer<'_>) -> Vec<u8> {
        let leaf = parse(leaf).unwrap();
        let algorithm = if self.hash == SHA1 { &SHA1_FOR_LEGACY_USE_ONLY } else { &SHA256 };
        let name = digest(algorithm, leaf.issuer().as_raw());
        let id = [
            der(SEQUENCE, &[&der(OBJECT, &[self.hash]), &[0x05, 0x00]]),
            der(OCTETS, &[name.as_ref()]),
            der(OCTETS, &[&[7; 20]]),
            der(INTEGER, &[leaf.raw_serial()]),
        ];
        let until = self.until.map(|until| der(TAGGED_0, &[&der(TIME, &[until])])).unwrap_or_default();
        der(SEQUENCE, &[&der(SEQUENCE, &[&id.concat()]), &self.status, &der(TIME, &[self.since]), &until])
    }
}

fn response(singles: &[Vec<u8>]) -> Vec<u8> {
    let data = [
        der(TAGGED_2, &[&der(OCTETS, &[&[9; 20]])]),
        der(TIME, &[b"20250615000000Z"]),
        der(SEQUENCE, &[&singles.concat()]),
    ];
    let basic =
        der(SEQUENCE, &[&der(SEQUENCE, &[&data.concat()]), &der(SEQUENCE, &[]), &der(0x03, &[&[0; 65]])]);
    let bytes = der(SEQUENCE, &[&der(OBJECT, &[&BASIC]), &der(OCTETS, &[&basic])]);
    der(SEQUENCE, &[&[ENUMERATED, 1, 0], &der(TAGGED_0, &[&bytes])])
}

fn checked(bytes: &[u8], leaf: &CertificateDer<'_>, now: i64) -> Result<(), Unstapled> {
    check(bytes, leaf, UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap())))
}

#[test]
fn a_good_response_of_now_is_handed_on() {
    let (shown, other) = (leaf(5), leaf(6));
    for said in
        [Said::default(), Said { hash: &SHA2, ..Said::default() }, Said { until: None, ..Said::default() }]
    {
        assert_eq!(checked(&response(&[said.of(&shown)]), &shown, NOW), Ok(()));
        assert_eq!(checked(&response(&[said.of(&other), said.of(&shown)]), &shown, NOW), Ok(()));
    }
}

#[test]
fn what_does_not_say_that_all_is_well_now_is_not() {
    let (shown, other) = (leaf(5), leaf(6));
    let one = |said: Said| response(&[said.of(&shown)]);
    let revoked = der(REVOKED, &[&der(TIME, &[b"20250101000000Z"])]);
    let mut foreign = Said::default().of(&shown);
    let name = foreign.windows(4).position(|bytes| bytes == [OCTETS, 0x82, 0, 20]).unwrap();
    foreign[name + 4] ^= 1;
    for (bytes, now, problem) in [
        (one(Said { status: revoked, ..Said::default() }), NOW, Unstapled::Revoked),
        (one(Said { status: vec![0x82, 0], ..Said::default() }), NOW, Unstapled::Unknown),
        (response(&[Said::default().of(&other)]), NOW, Unstapled::Elsewhere),
        (response(&[foreign]), NOW, Unstapled::Elsewhere),
        (one(Said { hash: &[0x2a], ..Said::default() }), NOW, Unstapled::Elsewhere),
        (one(Said::default()), NOW + 86_400, Unstapled::Stale),
        (one(Said { until: None, ..Said::default() }), NOW + 8 * 86_400, Unstapled::Stale),
        (one(Said::default()), NOW - 2 * 86_400, Unstapled::Early),
        (response(&[]), NOW, Unstapled::Malformed),
        (vec![0x30, 0x03, 0x0a, 0x01, 0x03], NOW, Unstapled::Malformed),
        (b"junk".to_vec(), NOW, Unstapled::Malformed),
        (Vec::new(), NOW, Unstapled::Malformed),
        ([one(Said::default()), vec![0]].concat(), NOW, Unstapled::Malformed),
    ] {
        assert_eq!(checked(&bytes, &shown, now), Err(problem));
    }
}

#[test]
fn no_bytes_break_the_reader() {
    let shown = leaf(5);
    let whole = response(&[Said::default().of(&shown)]);
    for end in 0..whole.len() {
        assert!(checked(&whole[..end], &shown, NOW).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        for value in [0, 0x30, 0x7f, 0x80, 0x84, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            // It is read, one way or the other.
            let _ = checked(&changed, &shown, NOW);
        }
    }
}

#[test]
fn times_are_those_of_the_calendar() {
    for (text, seconds) in [
        ("19700101000000Z", Some(0)),
        ("20000229235959Z", Some(951_868_799)),
        ("20250615150640Z", Some(NOW)),
        ("20250615150640", None),
        ("202506151506Z", None),
        ("20251315150640Z", None),
        ("2025061515064xZ", None),
        ("19500101000000Z", None),
    ] {
        assert_eq!(unix(text.as_bytes()), seconds, "{text}");
    }
}
