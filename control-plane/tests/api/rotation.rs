//! A signing key is changed, step by step, as `docs/OPERATIONS.md` walks.

use std::path::Path;

use outrigger_snapshot::keys::SigningKey;
use outrigger_store::Store;
use outrigger_store::reader::{Held, Poll, Reader, Subscriber, Trust};
use serde_json::json;

use crate::support::{ControlPlane, Folder, eventually, failed, outrigger, service, succeeded};

fn public(path: &Path) -> String {
    SigningKey::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap().public().to_string()
}

/// A proxy's view of the store, with only `key` to begin with.
fn reader(folder: &Folder, key: &str) -> Reader {
    let store = Store::open(folder.store().to_str().unwrap()).unwrap();
    let trust = Trust::Keys(key.parse::<outrigger_snapshot::keys::PublicKey>().unwrap().into());
    let subscriber = Subscriber { scope: "a".parse().unwrap(), node: "node".to_owned(), schema: 1 };
    Reader::new(store, trust, subscriber, None)
}

/// Waits until `reader` has a release of revision `revision`.
async fn follows(reader: &mut Reader, revision: u64) {
    eventually(async || {
        match reader.poll(&Held::default()).await.unwrap() {
            Poll::New(_) | Poll::Unchanged => {}
            Poll::ScopeMissing(_) => panic!("the scope is there"),
        }
        reader.position().is_some_and(|position| position.revision == revision)
    })
    .await;
}

#[tokio::test]
async fn proxies_follow_a_change_of_the_signing_key() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let (old, new) = (folder.path().join("store.key"), folder.path().join("new.key"));
    let (old_file, new_file) = (old.display().to_string(), new.display().to_string());
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&service("a", 1), json!({})).await;
    control_plane.published(1).await;
    succeeded(&outrigger(&["keys", "new", &new_file]));
    let (old_key, new_key) = (public(&old), public(&new));
    let mut proxy = reader(&folder, &old_key);
    follows(&mut proxy, 1).await;

    // Who would lose every proxy is told so.
    let said = failed(&outrigger(&["keys", "announce", "--store", &store, &new_key]), 1);
    assert!(said.contains("announce the new keys beside the old one first"), "{said}");
    let said = succeeded(&outrigger(&["keys", "announce", "--store", &store, &old_key, &new_key]));
    assert!(said.starts_with("release 2 announces"), "{said}");
    control_plane.push(&service("a", 2), json!({})).await;
    control_plane.published(2).await;
    follows(&mut proxy, 2).await;
    assert_eq!(control_plane.terminate().code(), Some(0));

    let with_both = ["--signing-key", &new_file, "--trust-key", &old_key];
    let control_plane = ControlPlane::start_with(&folder, "one", &with_both);
    control_plane.push(&service("a", 3), json!({})).await;
    control_plane.published(3).await;
    follows(&mut proxy, 3).await;
    let both = ["--signing-key", &new_file, "--signing-key", &old_file];
    succeeded(&outrigger(&[&["keys", "announce", "--store", &store, &new_key][..], &both].concat()));
    control_plane.push(&service("a", 4), json!({})).await;
    control_plane.published(4).await;
    follows(&mut proxy, 4).await;
    assert_eq!(
        proxy.position().unwrap().trusted,
        new_key.parse::<outrigger_snapshot::keys::PublicKey>().unwrap().into()
    );
    assert_eq!(control_plane.terminate().code(), Some(0));

    // The old key is gone: nobody needs it, and what starts now never heard of it.
    std::fs::remove_file(&old).unwrap();
    let control_plane = ControlPlane::start_with(&folder, "one", &["--signing-key", &new_file]);
    control_plane.push(&service("a", 5), json!({})).await;
    control_plane.published(5).await;
    follows(&mut proxy, 5).await;
    follows(&mut reader(&folder, &new_key), 5).await;
    let collect = ["gc", "--store", &store, "--signing-key", &new_file];
    failed(&outrigger(&collect), 1);
    succeeded(&outrigger(&[&collect[..], &["--trust-key", &old_key]].concat()));
}
