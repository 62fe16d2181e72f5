use super::*;

fn token() -> JoinToken {
    JoinToken {
        id: TokenId::random().unwrap(),
        service: "shop/cart".parse().unwrap(),
        domain: "mesh.test".parse().unwrap(),
        expires_unix: 1_900_000_000,
        reusable: false,
        roots: vec![Digest::of(b"root")],
    }
}

#[test]
fn what_was_signed_is_read_by_whoever_trusts_the_key() {
    let key = SigningKey::generate().unwrap();
    for reusable in [false, true] {
        let token = JoinToken { reusable, ..token() };
        let text = token.sign(&key).unwrap();
        assert_eq!(JoinToken::verify(&text, &key.public().into()), Ok(token.clone()));
        assert_eq!(JoinToken::inspect(&text), Ok(token));
        assert!(text.len() < 600, "{} bytes on a command line", text.len());
    }
}

#[test]
fn another_key_is_not_believed() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let text = token().sign(&other).unwrap();
    assert_eq!(
        JoinToken::verify(&text, &key.public().into()),
        Err(TokenError::Untrusted(other.public().id()))
    );
    // One that names the trusted key and is signed by another.
    let payload = serde_json::to_vec(&token()).unwrap();
    let signature = other.sign(&message(&payload)).unwrap();
    let text = written(key.public().id(), &payload, &signature);
    assert_eq!(JoinToken::verify(&text, &key.public().into()), Err(TokenError::Forged));
}

#[test]
fn no_record_passes_for_a_token() {
    let key = SigningKey::generate().unwrap();
    let payload = serde_json::to_vec(&token()).unwrap();
    let signature = key.sign(&[b"outrigger/epoch/v1".as_slice(), &payload].concat()).unwrap();
    let text = written(key.public().id(), &payload, &signature);
    assert_eq!(JoinToken::verify(&text, &key.public().into()), Err(TokenError::Forged));
}

#[test]
fn no_altered_text_is_believed() {
    let key = SigningKey::generate().unwrap();
    let text = token().sign(&key).unwrap();
    let trusted = key.public().into();
    for at in 0..text.len() {
        for byte in [b'A', b'B', b'0', b'.', b' '] {
            let mut altered = text.clone().into_bytes();
            if std::mem::replace(&mut altered[at], byte) == byte {
                continue;
            }
            let altered = String::from_utf8(altered).unwrap();
            assert!(JoinToken::verify(&altered, &trusted).is_err(), "{at}: {altered}");
        }
        assert!(JoinToken::verify(&text[..at], &trusted).is_err(), "{at}");
    }
    let long = format!("{text}{}", "A".repeat(TOKEN_BYTES_MAX));
    assert_eq!(JoinToken::verify(&long, &trusted), Err(TokenError::Unreadable));
}

#[test]
fn a_token_is_not_printed() {
    let text = token().sign(&SigningKey::generate().unwrap()).unwrap();
    let read = TokenText::read(&format!(" {text}\n")).unwrap();
    assert_eq!(read.reveal(), text);
    assert_eq!(format!("{read:?}"), "TokenText(redacted)");
}
