//! Whom a sidecar takes for the control plane that makes certificates.

use std::sync::Arc;

use outrigger_certs::enrol::{Trust, client, server};
use outrigger_certs::problem::Problem;
use outrigger_snapshot::digest::Digest;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::{CertificateRevocationListDer, PrivateKeyDer, ServerName};

use crate::made::{Authority, DOMAIN, id};
use crate::peers::shake;

const SERIAL: u64 = 7;

fn root(name: &str) -> Authority {
    Authority::root_between(name, date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1))
}

/// What a sidecar finds wrong with a control plane of `root`, of which it believes this.
fn problem(root: &Authority, trust: Trust) -> Option<Problem> {
    let mut own = root.leaf(&id_of_control_plane(), |params| {
        params.serial_number = Some(SerialNumber::from(SERIAL));
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    });
    own.chain.push(root.certificate.clone());
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let resolver = SingleCertAndKey::from(Arc::new(CertifiedKey::new(own.chain, key)));
    let mut server = ServerConnection::new(Arc::new(server(Arc::new(resolver)).unwrap())).unwrap();
    let name = ServerName::try_from("anything.test").unwrap();
    let mut client = ClientConnection::new(Arc::new(client(trust, None).unwrap()), name).unwrap();
    shake(&mut client, &mut server).0.as_ref().and_then(Problem::of)
}

fn id_of_control_plane() -> String {
    id("x").replace("shop/svc/x", "outrigger/svc/control-plane")
}

fn taken_back(root: &Authority) -> CertificateRevocationListDer<'static> {
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(SERIAL),
        revocation_time: date_time_ymd(2021, 6, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2021, 6, 1),
        next_update: date_time_ymd(2039, 7, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&root.issuer).unwrap().der().clone()
}

#[test]
fn the_bundle_or_the_pin_of_a_token_is_enough_but_for_what_was_taken_back() {
    let (own, other) = (root("own"), root("other"));
    let pin = |root: &Authority| Some((DOMAIN.parse().unwrap(), vec![Digest::of(&root.certificate)]));
    for (bundle, pinned, found) in [
        (None, None, Some(Problem::NoTrust)),
        (None, pin(&own), None),
        (Some(own.bundle(&[])), None, None),
        (Some(other.bundle(&[])), pin(&own), None),
        (Some(own.bundle(&[])), pin(&other), None),
        (Some(other.bundle(&[])), None, Some(Problem::UnknownIssuer)),
        (None, pin(&other), Some(Problem::UnknownIssuer)),
        (Some(own.bundle(&[taken_back(&own)])), pin(&own), Some(Problem::Revoked)),
    ] {
        let case = (bundle.is_some(), pinned.is_some());
        assert_eq!(problem(&own, Trust { bundle, pinned }), found, "{case:?}");
    }
}
