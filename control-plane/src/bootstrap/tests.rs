use std::ffi::OsString;
use std::time::Duration;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn arguments(texts: &[&str]) -> Vec<OsString> {
    std::iter::once("outrigger-control-plane").chain(texts.iter().copied()).map(OsString::from).collect()
}

fn parsed(texts: &[&str]) -> Bootstrap {
    Bootstrap::read(arguments(texts), |_| None).unwrap()
}

#[test]
fn a_store_is_enough() {
    let bootstrap = parsed(&["--store", "mesh"]);
    assert_eq!(bootstrap.listen, "127.0.0.1:15300".parse().unwrap());
    assert_eq!(bootstrap.interval_for(true), Duration::from_secs(1));
    assert_eq!(bootstrap.interval_for(false), Duration::from_secs(10));
    assert!(bootstrap.api_listen().unwrap().token.is_none());
}

#[test]
fn intervals_have_a_unit_and_bounds() {
    for (text, expected) in
        [("20ms", Some(20)), ("1s", Some(1_000)), ("2m", Some(120_000)), ("1h", Some(3_600_000))]
            .into_iter()
            .chain(
                ["", "1", "s", "1 s", "0s", "19ms", "2h", "99999999999999999999s", "-1s", "1.5s"]
                    .map(|bad| (bad, None)),
            )
    {
        let texts = ["--store", "mesh", &format!("--interval={text}")];
        let read = Bootstrap::read(arguments(&texts), |_| None);
        assert_eq!(read.ok().map(|read| read.interval.unwrap().as_millis()), expected, "{text:?}");
    }
}

#[test]
fn a_wrong_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outrigger.toml");
    let read =
        |path: &str| Bootstrap::read(arguments(&["--config", path]), |_| None).unwrap_err().to_string();
    for (text, part) in [("store".to_owned(), "is not TOML"), ("#".repeat(70_000), "is larger than")] {
        std::fs::write(&path, text).unwrap();
        let error = read(path.to_str().unwrap());
        assert!(error.contains(part) && error.contains(path.to_str().unwrap()), "{error}");
    }
    let error = read("/nonexistent");
    assert!(error.contains("can't read the bootstrap file /nonexistent"), "{error}");
}

#[test]
fn two_listeners_need_two_addresses() {
    let both = |address: &str| {
        let texts = ["--store", "mesh", "--listen", address, "--metrics", address];
        Bootstrap::read(arguments(&texts), |_| None)
    };
    let error = both("127.0.0.1:15300").unwrap_err().to_string();
    assert!(error.contains("--listen and --metrics are both 127.0.0.1:15300"), "{error}");
    assert!(both("127.0.0.1:0").is_ok());
}

#[test]
fn others_get_in_only_over_tls_and_with_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let token = token.to_str().unwrap();
    let tls = ["--tls-cert", "c", "--tls-key", "k"];
    let open = ["--store", "mesh", "--listen", "0.0.0.0:0"];
    for (more, missing) in [
        (vec![], Some("without TLS and a bearer token")),
        (vec!["--token-file", token], Some("without TLS:")),
        (tls.to_vec(), Some("without a bearer token")),
        ([tls.as_slice(), &["--token-file", token]].concat(), None),
    ] {
        let listen = parsed(&[open.as_slice(), &more].concat()).api_listen();
        match missing {
            Some(missing) => assert!(listen.unwrap_err().to_string().contains(missing)),
            None => assert!(listen.unwrap().token.unwrap().admits(TOKEN.as_bytes())),
        }
    }
}

#[test]
fn a_token_is_compared_whole_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, TOKEN).unwrap();
    let token = Token::read(&path).unwrap();
    assert!(token.admits(TOKEN.as_bytes()));
    for wrong in ["", &TOKEN[1..], &format!("{TOKEN}0"), &TOKEN.replace('0', "1")] {
        assert!(!token.admits(wrong.as_bytes()), "{wrong:?}");
    }
    assert!(!format!("{token:?}").contains("0123"));
    for unusable in ["", "short", "two lines are not\none token", &"x".repeat(5_000)] {
        std::fs::write(&path, unusable).unwrap();
        assert!(Token::read(&path).is_err(), "{unusable:?}");
    }
}
