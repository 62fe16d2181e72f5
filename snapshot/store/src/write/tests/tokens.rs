//! What is known of join tokens, when there are many.

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::join_token::{JoinToken, TokenId};

use super::interposed::Interposed;
use super::*;
use crate::write::Tokens;
use crate::write::tokens::TOKENS_LISTED_MAX;

fn token(reusable: bool) -> JoinToken {
    JoinToken {
        id: TokenId::random().unwrap(),
        service: "default/cart".parse().unwrap(),
        domain: "mesh.test".parse().unwrap(),
        expires_unix: 2_000_000_000,
        reusable,
        roots: vec![Digest::of(b"root")],
    }
}

#[tokio::test]
async fn a_listing_asks_for_what_there_is_and_for_several_at_a_time() {
    let (spy, store) = Interposed::store();
    let tokens = Tokens::new(store);
    let mut made = Vec::new();
    for nth in 0..200 {
        let token = token(nth % 2 == 0);
        tokens.note(&token, NOW + nth).await.unwrap();
        made.push(token.id);
    }
    assert!(tokens.take(made[0], Digest::of(b"key"), NOW).await.unwrap());
    tokens.revoke(made[1], NOW).await.unwrap();
    spy.forget();
    let (listed, older) = tokens.list().await.unwrap();
    assert_eq!((listed.len(), older), (200, 0));
    let (reads, (_, most)) = (spy.reads_of("tokens/"), *spy.reading.lock().unwrap());
    assert_eq!(reads, 201, "one for each, and one for the one that was used");
    assert!((8..=64).contains(&most), "{most} at a time");
    let known = |id| &listed.iter().find(|(listed, _)| *listed == id).unwrap().1;
    assert!(known(made[0]).used.is_some() && !known(made[0]).revoked);
    assert!(known(made[1]).revoked && known(made[1]).used.is_none());
    assert!(listed.iter().all(|(_, known)| known.issued.is_some()));
}

/// Once, a token that was taken back was good again as soon as the folder was gone.
#[tokio::test]
async fn what_became_of_a_token_is_not_known_without_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    std::fs::create_dir(&path).unwrap();
    let tokens = Tokens::new(Store::open(path.to_str().unwrap()).unwrap());
    let token = token(true);
    assert!(!tokens.is_issued(token.id).await.unwrap());
    tokens.note(&token, NOW).await.unwrap();
    tokens.revoke(token.id, NOW).await.unwrap();
    assert!(tokens.is_issued(token.id).await.unwrap() && tokens.is_revoked(token.id).await.unwrap());
    std::fs::rename(&path, folder.path().join("away")).unwrap();
    assert!(tokens.is_revoked(token.id).await.is_err());
    assert!(tokens.is_issued(token.id).await.is_err());
    assert!(tokens.take(token.id, Digest::of(b"key"), NOW).await.is_err());
}

#[tokio::test]
async fn a_listing_is_bounded_and_says_how_many_it_leaves_out() {
    let (_, store) = Interposed::store();
    let tokens = Tokens::new(store);
    for nth in 0..TOKENS_LISTED_MAX as u64 + 7 {
        tokens.note(&token(true), NOW + nth).await.unwrap();
    }
    let (listed, older) = tokens.list().await.unwrap();
    assert_eq!((listed.len(), older), (TOKENS_LISTED_MAX, 7));
}
