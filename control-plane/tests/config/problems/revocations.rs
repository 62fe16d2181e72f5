//! What a mesh may believe and take back: lists that would be of no effect, and what everybody would see.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::load_text;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str, above: Option<&Self>) -> Self {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = match above {
            Some(above) => params.signed_by(&key, &above.issuer),
            None => params.self_signed(&key),
        };
        Self { pem: made.unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    fn list(&self) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 6, 1),
            next_update: date_time_ymd(2090, 7, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(5_u64),
                revocation_time: date_time_ymd(2021, 6, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// What is said of a mesh; empty: nothing.
fn said(bundle: &str, revocations: &str) -> String {
    let spec =
        serde_json::json!({"trustDomain": "mesh.test", "trustBundle": bundle, "revocations": revocations});
    let mesh = serde_json::json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Mesh", "metadata": {"name": "mesh"}, "spec": spec});
    match load_text(&mesh.to_string()) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn a_list_is_of_an_authority_that_is_believed() {
    let (root, forger, stranger) =
        (Authority::new("root", None), Authority::new("root", None), Authority::new("stranger", None));
    let middle = Authority::new("middle", Some(&root));
    for good in [
        String::new(),
        root.list(),
        root.list() + &root.list(),
        middle.list() + &middle.pem,
        format!("Certificate Revocation List:\n    of June\n{}", root.list()),
    ] {
        assert_eq!(said(&root.pem, &good), "", "{good}");
    }
    for (wrong, why) in [
        (forger.list(), "the list of \"CN=root\" is signed with another key than that authority's"),
        (root.list() + &forger.list(), "another key"),
        (stranger.list(), "the list of \"CN=stranger\" is of no authority of the trust bundle"),
        (root.list() + &stranger.list() + &stranger.pem, "is of no authority"),
        (middle.list(), "put the intermediate's certificate beside it"),
        (root.pem.clone(), "it has no revocation list"),
        ("hello world".to_owned(), "it has no revocation list"),
        (root.list().replacen("MI", "AI", 1), "a list cannot be read"),
        (root.list()[..200].to_owned(), "it is damaged"),
    ] {
        let said = said(&root.pem, &wrong);
        assert!(said.contains(": spec.revocations: ") && said.contains(why), "{said}");
        assert!(said.contains("expected revocation lists in PEM (X509 CRL)"), "{said}");
    }
}

#[test]
fn what_is_no_certificate_is_not_published_and_a_key_is_not_repeated() {
    let root = Authority::new("root", None);
    let key = root.issuer.key().serialize_pem();
    let secret = key.lines().nth(1).unwrap();
    let bundle = |rest: &str| said(&format!("{}{rest}", root.pem), "");
    let lists = |rest: &str| said(&root.pem, &format!("{}{rest}", root.list()));
    for said in [
        bundle(&key),
        bundle(&key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
        bundle(&key.replace("-----BEGIN", "----BEGIN")),
        bundle(&key.replace('\n', "\r\n")),
        bundle(&root.list()),
        bundle("-----BEGIN NOTE-----\n-----END NOTE-----\n"),
        bundle(&format!("-----BEGIN {secret}-----\n")),
        lists(&key),
    ] {
        assert!(said.contains("has something else in it") && said.contains("and nothing besides"), "{said}");
        assert!(said.contains(": spec.trustBundle: ") || said.contains(": spec.revocations: "), "{said}");
        assert!(!said.contains(&secret[..8]), "{said}");
    }
    let map = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"ca.crt": root.pem + &key}});
    let problems = load_text(&map.to_string()).unwrap_err();
    let said = problems.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("PRIVATE KEY") && !said.contains(&secret[..8]), "{said}");
}
