//! Files that something else renews, in every way in which it may do so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD as STANDARD, Engine as _};
use outrigger_certs::files::{Files, FilesError, Watched};
use outrigger_certs::pem::{self, PemError};
use outrigger_certs::problem::Problem;
use outrigger_certs::web::Folder;
use outrigger_snapshot::name::ServiceName;
use rcgen::date_time_ymd;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::made::{Authority, Pair, id, now};

fn pem_of(pair: &Pair) -> (String, String) {
    let certificate = |der: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    };
    (pair.chain.iter().map(|der| certificate(der)).collect(), pair.key.serialize_pem())
}

fn write(folder: &Path, pair: &Pair) {
    let (chain, key) = pem_of(pair);
    fs::write(folder.join("tls.crt"), chain).unwrap();
    fs::write(folder.join("tls.key"), key).unwrap();
}

fn watched(folder: &Path) -> Watched {
    let files = Files { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
    Watched::new(files, ServiceName::new("shop", "cart").unwrap())
}

/// What a look has found.
fn shown(watched: &mut Watched) -> Vec<CertificateDer<'static>> {
    watched.look(now()).unwrap().unwrap().chain().to_vec()
}

#[test]
fn a_pair_is_read_once_and_again_when_it_has_changed() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let mut watched = watched(folder.path());
    assert!(matches!(watched.look(now()), Some(Err(FilesError::Pem(PemError::File { .. })))));
    assert!(watched.look(now()).is_none(), "told once");
    write(folder.path(), &root.leaf(&id("cart"), |_| {}));
    assert_eq!(watched.look(now()).unwrap().unwrap().id().as_str(), id("cart"));
    assert!(watched.look(now()).is_none());
    let next = root.leaf(&id("cart"), |_| {});
    write(folder.path(), &next);
    assert_eq!(shown(&mut watched), next.chain, "in place");

    fs::write(folder.path().join("next"), pem_of(&root.leaf(&id("cart"), |_| {})).0).unwrap();
    fs::rename(folder.path().join("next"), folder.path().join("tls.crt")).unwrap();
    let half = watched.look(now()).unwrap().unwrap_err();
    assert!(
        matches!(half, FilesError::Unusable { problem: Problem::KeyMismatch, .. }),
        "only one half is there: {half}"
    );
}

/// Once, the certificate of another service was put into force, and no caller believed the sidecar any more.
#[test]
fn the_certificate_of_another_service_is_not_taken() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let mut watched = watched(folder.path());
    for other in
        [id("front"), "spiffe://mesh.test/ns/other/svc/cart".to_owned(), "spiffe://mesh.test/cart".to_owned()]
    {
        write(folder.path(), &root.leaf(&other, |_| {}));
        let error = watched.look(now()).unwrap().unwrap_err();
        assert_eq!(error.code(), "wrong_name");
        assert!(
            error.to_string().ends_with(&format!("tls.crt is for {other}, and this is shop/cart")),
            "{error}"
        );
    }
    write(folder.path(), &root.leaf(&id("cart"), |_| {}));
    assert!(watched.look(now()).unwrap().is_ok());
}

/// A mounted secret is a link to a folder, which is replaced whole.
#[test]
fn a_link_that_leads_elsewhere_is_noticed() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let generation = |name: &str| {
        fs::create_dir(folder.path().join(name)).unwrap();
        let pair = root.leaf(&id("cart"), |_| {});
        write(&folder.path().join(name), &pair);
        symlink(name, folder.path().join("next")).unwrap();
        fs::rename(folder.path().join("next"), folder.path().join("data")).unwrap();
        pair.chain
    };
    let one = generation("one");
    let mut watched = watched(&folder.path().join("data"));
    assert_eq!(shown(&mut watched), one);
    let two = generation("two");
    assert_eq!(shown(&mut watched), two);
}

#[test]
fn what_is_wrong_in_a_file_is_said() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let (chain, key) = pem_of(&root.leaf(&id("cart"), |_| {}));
    let mut watched = watched(folder.path());
    let mut look = |chain: &str, key: &str| {
        fs::write(folder.path().join("tls.crt"), chain).unwrap();
        fs::write(folder.path().join("tls.key"), key).unwrap();
        watched.look(now()).unwrap().unwrap_err().to_string()
    };
    for (chain, key, said) in [
        (&chain[..chain.len() / 2], key.as_str(), "tls.crt is damaged"),
        (&chain, &key[..key.len() / 2], "tls.key is damaged"),
        (&key, &key, "tls.crt has no certificate"),
        (&chain, &chain, "tls.key has no private key"),
        (&chain.repeat(pem::CHAIN_MAX + 1), &key, "more than 6"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "cannot be used"),
    ] {
        let error = look(chain, key);
        assert!(error.contains(said), "{said}: {error}");
    }
    fs::write(folder.path().join("tls.crt"), vec![b'x'; pem::FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(watched.look(now()).unwrap().unwrap_err().to_string().contains("longer than"));
}

/// To open a pipe is to wait for a writer.
#[test]
fn what_is_no_regular_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls.crt");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (told, heard) = std::sync::mpsc::channel();
    let mut watched = watched(folder.path());
    std::thread::spawn(move || {
        told.send(watched.look(now()).map(|looked| looked.map_err(|error| error.code())))
    });
    let looked = heard.recv_timeout(Duration::from_secs(5)).expect("it does not wait for a writer");
    assert_eq!(looked.unwrap().unwrap_err(), "unreadable");
}

fn after(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs().checked_add_signed(seconds).unwrap()))
}

const YEAR: i64 = 366 * 86_400;

/// It may be put there before its time, and the clock may be wrong for a while.
#[test]
fn what_is_not_valid_yet_comes_when_its_time_does() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let late = root.leaf(&id("cart"), |params| params.not_before = date_time_ymd(2030, 12, 1));
    write(folder.path(), &late);
    let (mut watched, mut shown) = (watched(folder.path()), Folder::new(folder.path().to_owned()));
    let early = watched.look(now()).unwrap().unwrap_err();
    assert_eq!(early.code(), "not_yet_valid");
    assert_eq!(shown.look(now()).unwrap().unwrap_err().code(), "not_yet_valid");
    assert!(watched.look(now()).is_none() && shown.look(now()).is_none(), "told once");
    let then = after(YEAR / 2);
    assert_eq!(watched.look(then).unwrap().unwrap().id().as_str(), id("cart"));
    assert!(shown.look(then).unwrap().is_ok());
    assert!(watched.look(then).is_none() && shown.look(then).is_none(), "once");
}

#[test]
fn what_seemed_over_comes_when_the_clock_is_right_again() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    write(folder.path(), &root.leaf(&id("cart"), |_| {}));
    let (mut watched, mut shown) = (watched(folder.path()), Folder::new(folder.path().to_owned()));
    let wrong = after(10 * YEAR);
    assert_eq!(watched.look(wrong).unwrap().unwrap_err().code(), "expired");
    assert_eq!(shown.look(wrong).unwrap().unwrap_err().code(), "expired");
    assert!(watched.look(wrong).is_none() && shown.look(wrong).is_none());
    assert_eq!(
        watched.look(after(-10 * YEAR)).unwrap().unwrap_err().code(),
        "not_yet_valid",
        "another reason"
    );
    assert!(watched.look(now()).unwrap().is_ok() && shown.look(now()).unwrap().is_ok());
}

/// In place, byte for byte, with a look at each: nothing of it is taken before it fits together.
#[test]
fn what_is_written_by_half_is_never_taken() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    write(folder.path(), &root.leaf(&id("cart"), |_| {}));
    let mut watched = watched(folder.path());
    assert!(watched.look(now()).unwrap().is_ok());
    let next = root.leaf(&id("cart"), |_| {});
    let (chain, key) = pem_of(&next);
    for (name, text) in [("tls.crt", &chain), ("tls.key", &key)] {
        for end in 0..text.trim_end().len() {
            fs::write(folder.path().join(name), &text[..end]).unwrap();
            let looked = watched.look(now());
            assert!(!matches!(looked, Some(Ok(_))), "{name}, {end} bytes");
        }
        fs::write(folder.path().join(name), text).unwrap();
        if name == "tls.crt" {
            assert_eq!(watched.look(now()).unwrap().unwrap_err().code(), "key_mismatch");
        }
    }
    assert_eq!(shown(&mut watched), next.chain);
}

/// Each wrong content has a word of its own.
#[test]
fn what_is_wrong_has_a_word_for_metrics() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let (chain, key) = pem_of(&root.leaf(&id("cart"), |_| {}));
    let (expired, own) =
        pem_of(&root.leaf(&id("cart"), |params| params.not_after = date_time_ymd(2030, 1, 1)));
    let other = pem_of(&root.leaf(&id("cart"), |_| {})).1;
    let mut watched = watched(folder.path());
    assert_eq!(watched.look(now()).unwrap().unwrap_err().code(), "unreadable");
    for (chain, key, word) in [
        (&chain[..chain.len() / 2], key.as_str(), "damaged"),
        (&chain, &chain, "absent"),
        (&chain.repeat(pem::CHAIN_MAX + 1), &key, "too_many"),
        (&"x".repeat(pem::FILE_BYTES_MAX as usize + 1), &key, "too_long"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "malformed"),
        (&expired, &own, "expired"),
        (&chain, &other, "key_mismatch"),
    ] {
        fs::write(folder.path().join("tls.crt"), chain).unwrap();
        fs::write(folder.path().join("tls.key"), key).unwrap();
        assert_eq!(watched.look(now()).unwrap().unwrap_err().code(), word);
    }
}
