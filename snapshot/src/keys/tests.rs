use super::*;

/// RFC 8032 §7.1, test 2, as `openssl pkey` writes it.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIEzNCJsoln+W2qadb0YTXDG6anE5YZYr8KZPtKZb+4pv
-----END PRIVATE KEY-----
";

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn signatures_are_those_of_the_rfc() {
    // Seed 4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb.
    let mut document = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    document.extend(hex::<32>("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap());
    let key =
        SigningKey::from_pem(&format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(document))).unwrap();
    assert_eq!(hex_of(&key.public().0), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let signature = key.sign(&[0x72]).unwrap();
    assert!(
        hex_of(&signature).starts_with("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da")
    );
    assert!(key.public().verify(&[0x72], &signature));
    assert!(!key.public().verify(&[0x73], &signature));
}

#[test]
fn a_key_survives_its_text_forms() {
    let key = SigningKey::generate().unwrap();
    let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
    assert_eq!(again.public(), key.public());
    let text = key.public().to_string();
    assert!(text.starts_with("ed25519:"));
    assert_eq!(text.parse(), Ok(key.public()));
    let id = key.public().id();
    assert_eq!(id.to_string(), Digest::of(&key.public().0).to_string()[..16]);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!(SigningKey::from_pem(PEM).is_ok());
}

#[test]
fn what_is_no_key_is_refused() {
    let short = format!("ed25519:{}", STANDARD.encode([1; 31]));
    for text in ["", "ed25519:", "rsa:AAAA", short.as_str()] {
        assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Public), "{text:?}");
    }
    for text in ["", PEM_BEGIN, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
        assert!(matches!(SigningKey::from_pem(text), Err(KeyError::Private)), "{text:?}");
    }
}

#[test]
fn debug_output_holds_no_private_bytes() {
    let key = SigningKey::from_pem(PEM).unwrap();
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public().id()));
}

#[test]
fn a_trust_set_is_neither_empty_nor_unbounded() {
    assert_eq!(TrustedKeys::new([]), Err(KeyError::Count(0)));
    let many: Vec<_> = (0..40).map(|_| SigningKey::generate().unwrap().public()).collect();
    assert_eq!(TrustedKeys::new(many.clone()), Err(KeyError::Count(TRUSTED_KEYS_MAX + 1)));
    let keys = TrustedKeys::new(many[..3].to_vec()).unwrap();
    let text = serde_json::to_string(&keys).unwrap();
    assert_eq!(serde_json::from_str::<TrustedKeys>(&text).unwrap(), keys);
    assert!(serde_json::from_str::<TrustedKeys>("[]").is_err());
}
