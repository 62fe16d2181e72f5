use super::{Text, check_path, duration_ms};

/// The examples of GEP-2257, and what is just outside.
#[test]
fn durations_are_those_of_the_gateway_api() {
    for (text, milliseconds) in [
        ("0h", Some(0)),
        ("0s", Some(0)),
        ("0h0m0s", Some(0)),
        ("1h", Some(3_600_000)),
        ("30m", Some(1_800_000)),
        ("10s", Some(10_000)),
        ("500ms", Some(500)),
        ("2h30m", Some(9_000_000)),
        ("10s500ms", Some(10_500)),
        ("1h30m10s5ms", Some(5_410_005)),
        ("99999h", Some(359_996_400_000)),
        ("", None),
        ("1", None),
        ("1d", None),
        ("1s2m3h4s5s", None),
        ("100000s", None),
        ("1.5s", None),
        ("-1s", None),
        ("+1s", None),
        ("1 s", None),
        ("ms", None),
        ("1S", None),
    ] {
        assert_eq!(duration_ms(text), milliseconds, "{text:?}");
    }
}

#[test]
fn paths_are_those_of_the_gateway_api() {
    for path in ["/", "/a", "/a/", "/a.b/..c/...", "/a%20b", "/-._~!$&'()*+,;=:@"] {
        assert_eq!(check_path(path), Ok(()), "{path}");
    }
    for path in [
        "", "a", "//", "/a//b", "/.", "/..", "/a/./b", "/a/..", "/a%2fb", "/a%2Fb", "/a?b", "/a#b", "/a b",
        "/%", "/%2", "/%zz", "/é",
    ] {
        assert!(check_path(path).is_err(), "{path}");
    }
}

#[test]
fn hosts_are_compared_as_they_are_written() {
    let longest = format!("{}.{}", "a".repeat(63), vec!["b"; 95].join("."));
    for (host, right) in [
        ("a", true),
        ("a-b.example", true),
        ("a_b.example", true),
        ("10.0.0.1", true),
        (longest.as_str(), true),
        ("", false),
        ("a..b", false),
        ("a.", false),
        (".a", false),
        ("A.example", false),
        ("a.example:80", false),
        ("*.example", false),
        ("[fd00::1]", false),
        ("user@a", false),
        (&"a".repeat(64), false),
        (&vec!["a"; 128].join("."), false),
    ] {
        assert_eq!(Text::Host.accepts(host), right, "{host}");
    }
    assert!(Text::HostPattern.accepts("*.a.example") && !Text::HostPattern.accepts("a.*.example"));
}

#[test]
fn header_values_cannot_carry_another_line() {
    for (value, right) in [
        ("a b\tc", true),
        ("", true),
        (" a", false),
        ("a ", false),
        ("a\r\nb: c", false),
        ("a\0", false),
        ("é", false),
    ] {
        assert_eq!(Text::HeaderValue.accepts(value), right, "{value:?}");
    }
}
