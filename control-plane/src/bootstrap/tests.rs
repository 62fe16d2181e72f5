use std::ffi::OsString;
use std::time::Duration;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn arguments(texts: &[&str]) -> Vec<OsString> {
    std::iter::once("outrigger-control-plane").chain(texts.iter().copied()).map(OsString::from).collect()
}

fn parsed(texts: &[&str]) -> Bootstrap {
    Bootstrap::from_arguments(arguments(texts)).unwrap()
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
        let read = Bootstrap::from_arguments(arguments(&["--store", "mesh", &format!("--interval={text}")]));
        assert_eq!(read.ok().map(|read| read.interval.unwrap().as_millis()), expected, "{text:?}");
    }
}

#[test]
fn the_file_is_overridden_by_environment_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outrigger.toml");
    std::fs::write(
        &path,
        "store = 'from-file'\nmetrics = '127.0.0.1:1'\ninterval = '3s'\nsingle-writer = true\n",
    )
    .unwrap();
    let texts = ["--config", path.to_str().unwrap(), "--interval", "4s"];
    let variable = |name: &str| (name == "OUTRIGGER_METRICS").then(|| OsString::from("127.0.0.1:2"));
    let all = file::with_file(&Bootstrap::command(), arguments(&texts), variable).unwrap();
    assert!(!all.iter().any(|argument| argument.to_str().unwrap().starts_with("--metrics")), "{all:?}");
    let bootstrap = Bootstrap::try_parse_from(all).unwrap();
    assert_eq!(bootstrap.store, "from-file");
    assert_eq!(bootstrap.interval, Some(Duration::from_secs(4)));
    assert!(bootstrap.single_writer);
}

#[test]
fn a_wrong_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outrigger.toml");
    for (text, part) in [
        ("stor = 'x'", "sets \"stor\", which is no flag; it can set store, listen"),
        ("store = 1979-05-27", "the value of \"store\" can't be a flag's"),
        ("store = {}", "the value of \"store\" can't be a flag's"),
        ("config = 'x'", "sets \"config\""),
        ("store", "is not TOML"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Bootstrap::from_arguments(arguments(&["--config", path.to_str().unwrap()])).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = Bootstrap::from_arguments(arguments(&["--config=/nonexistent"])).unwrap_err();
    assert!(error.to_string().contains("can't read the bootstrap file /nonexistent"), "{error}");
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
