//! Short texts: names, authorities, digests, keys in PEM, paths of the store; and the reports that proxies send.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use http::header::HeaderValue;
use libfuzzer_sys::fuzz_target;
use outrigger_control_plane::reports::{Coverage, Report, ReportTable};
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::head::Authority;
use outrigger_snapshot::keys::{KeyId, PublicKey, SigningKey};
use outrigger_snapshot::layout;
use outrigger_snapshot::name::{ClusterName, ServiceName};

/// What is read is the same after it was written and read again.
fn assert_survives<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        assert!(written.parse::<T>().is_ok_and(|again| again == value), "{text:?}, written as {written:?}");
    }
}

fn authority(data: &[u8]) -> Option<()> {
    let authority = Authority::parse(&HeaderValue::from_bytes(data).ok()?).ok()?;
    let host = authority.host();
    assert!(!host.is_empty() && !host.ends_with('.'), "{host:?} is no host");
    assert!(
        !host.bytes().any(|byte| byte.is_ascii_uppercase() || b"/?#@, ".contains(&byte)),
        "{host:?} is no host"
    );
    assert_eq!(Authority::parse(authority.as_header()).as_ref(), Ok(&authority), "it is in its own form");
    for port in [None, Some(1), Some(u16::MAX)] {
        let other = authority.with_port(port);
        assert_eq!((other.host(), other.port()), (host, port));
    }
    Some(())
}

fn report(data: &[u8]) -> Option<()> {
    let mut table = ReportTable::default();
    table.record(serde_json::from_slice::<Report>(data).ok()?, 1).ok()?;
    let coverage = Coverage::of(&table.proxies(Some((1, 1)), 2));
    assert_eq!(coverage.reporting, 1, "a proxy that has just reported is counted");
    Some(())
}

fuzz_target!(|data: &[u8]| {
    authority(data);
    report(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_survives::<ServiceName>(text);
    assert_survives::<ClusterName>(text);
    assert_survives::<Digest>(text);
    assert_survives::<KeyId>(text);
    assert_survives::<PublicKey>(text);
    if let Some(serial) = layout::serial(text) {
        for path in [layout::release(serial), layout::revision(serial)] {
            assert_eq!(layout::serial(&path), Some(serial));
        }
    }
    if let Some(digest) = layout::digest(text) {
        assert_eq!(layout::digest(&layout::object(digest)), Some(digest));
    }
    layout::number(text);
    if let Ok(key) = SigningKey::from_pem(text) {
        let written = key.to_pem().expect("a key can be written");
        let again = SigningKey::from_pem(&written).expect("what was written is a key");
        assert_eq!(again.public(), key.public());
    }
});
