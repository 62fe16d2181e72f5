//! What sidecars and control planes are given as certificates, keys, trust bundles, revocation lists, requests and join tokens: as PEM, and what
//! is in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_certs::authority::Request;
use outrigger_certs::svid::Svid;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::{inspect, pem};
use outrigger_snapshot::join_token::JoinToken;
use rustls_pki_types::UnixTime;

const ORIGIN: &str = "the input";

fuzz_target!(|data: &[u8]| {
    let chain = pem::chain(data, ORIGIN);
    let key = pem::key(data, ORIGIN);
    if let Ok(chain) = &chain {
        assert!((1..=pem::CHAIN_MAX).contains(&chain.len()));
        for certificate in chain {
            let _ = inspect::Facts::of(certificate);
        }
        if let Ok(key) = &key
            && let Ok(svid) = Svid::new(
                chain.clone(),
                key,
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000)),
            )
        {
            assert!(svid.not_before_unix() <= svid.not_after_unix());
        }
    }
    let revocations = pem::revocations(data, ORIGIN).unwrap_or_default();
    assert!(revocations.len() <= pem::REVOCATIONS_MAX);
    if let (Ok(roots), Ok(domain)) = (pem::roots(data, ORIGIN), "example.org".parse()) {
        assert!((1..=pem::ROOTS_MAX).contains(&roots.len()));
        if let Ok(bundle) = TrustBundle::new(domain, &roots, &revocations) {
            assert!(bundle.facts().len() <= roots.len());
        }
    }
    if let Ok(text) = str::from_utf8(data) {
        let _ = Request::read(text);
        let _ = JoinToken::inspect(text);
    }
});
