//! Conditions: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::Rule("{matches: [{path: {type: Prefix, value: /}}], backendRefs: [{name: web, port: 80}]}"),
        &[
            r#"m.yaml:6:26: spec.rules[0].matches[0].path.type: "Prefix" is not known; expected one of Exact, PathPrefix, RegularExpression"#,
        ],
    ),
    (
        Wrong::Rule("{matches: [{path: {value: cart}}], backendRefs: [{name: web, port: 80}]}"),
        &[
            r#"m.yaml:6:27: spec.rules[0].matches[0].path.value: "cart" is not a path; expected a path that starts with '/'"#,
        ],
    ),
    (
        Wrong::Rule("{matches: [{path: {value: /a//b}}], backendRefs: [{name: web, port: 80}]}"),
        &[
            r#"m.yaml:6:27: spec.rules[0].matches[0].path.value: "/a//b" is not a path; expected a path without '//'"#,
        ],
    ),
    (
        Wrong::Rule(
            "{matches: [{path: {type: Exact, value: /a/../b}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:6:40: spec.rules[0].matches[0].path.value: "/a/../b" is not a path; expected a path without the segments '.' and '..'"#,
        ],
    ),
    (
        Wrong::Rule("{matches: [{path: {value: /a%2Fb}}], backendRefs: [{name: web, port: 80}]}"),
        &[
            r#"m.yaml:6:27: spec.rules[0].matches[0].path.value: "/a%2Fb" is not a path; expected a path without an escaped '/' (%2F)"#,
        ],
    ),
    (
        Wrong::Rule(r#"{matches: [{path: {value: "/a?b=c"}}], backendRefs: [{name: web, port: 80}]}"#),
        &[
            r#"m.yaml:6:27: spec.rules[0].matches[0].path.value: "/a?b=c" is not a path; expected a path of letters, digits, -._~!$&'()*+,;=:@/ and %XX escapes, without query and fragment"#,
        ],
    ),
    (
        Wrong::Rule(
            r#"{matches: [{path: {type: RegularExpression, value: "/a(b"}}], backendRefs: [{name: web, port: 80}]}"#,
        ),
        &[
            r#"m.yaml:6:52: spec.rules[0].matches[0].path.value: "/a(b" is not a usable regular expression: unclosed group; expected an expression of the Rust regex syntax, without look-around and back-references"#,
        ],
    ),
    (
        Wrong::Rule(
            r#"{matches: [{path: {type: RegularExpression, value: "/(a{500}){500}"}}], backendRefs: [{name: web, port: 80}]}"#,
        ),
        &[
            r#"m.yaml:6:52: spec.rules[0].matches[0].path.value: "/(a{500}){500}" is not a usable regular expression: Compiled regex exceeds size limit of 262144 bytes; expected an expression of the Rust regex syntax, without look-around and back-references"#,
        ],
    ),
    (
        Wrong::Rule(
            "{matches: [{headers: [{name: X-A, value: a}, {name: x-a, value: b}]}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:6:53: spec.rules[0].matches[0].headers[1].name: "x-a" is the name of headers[0] too; expected each name once"#,
        ],
    ),
    (
        Wrong::Rule(
            r#"{matches: [{headers: [{name: "x a", value: 1}]}], backendRefs: [{name: web, port: 80}]}"#,
        ),
        &[
            r#"m.yaml:6:30: spec.rules[0].matches[0].headers[0].name: "x a" is not valid; expected a header name (RFC 9110 token)"#,
            "m.yaml:6:44: spec.rules[0].matches[0].headers[0].value: is the number 1; expected a text; put quotes around it",
        ],
    ),
    (
        Wrong::Rule("{matches: [{headers: [{name: a, vlaue: b}]}], backendRefs: [{name: web, port: 80}]}"),
        &[
            "m.yaml:6:23: spec.rules[0].matches[0].headers[0].value: is missing; expected its value, or a regular expression for the whole of it",
            r#"m.yaml:6:33: spec.rules[0].matches[0].headers[0].vlaue: is not a field of this object; expected one of type, name, value; did you mean "value"?"#,
        ],
    ),
    (
        Wrong::Rule(
            r#"{matches: [{headers: [{name: a, type: RegularExpression, value: "("}]}], backendRefs: [{name: web, port: 80}]}"#,
        ),
        &[
            r#"m.yaml:6:65: spec.rules[0].matches[0].headers[0].value: "(" is not a usable regular expression: unclosed group; expected an expression of the Rust regex syntax, without look-around and back-references"#,
        ],
    ),
    (
        Wrong::Rule(
            "{matches: [{queryParams: [{name: a, value: b}, {name: A, value: b}, {name: a, value: c}]}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:6:76: spec.rules[0].matches[0].queryParams[2].name: "a" is the name of queryParams[0] too; expected each name once"#,
        ],
    ),
    (
        Wrong::Rule("{matches: [{method: get}], backendRefs: [{name: web, port: 80}]}"),
        &[
            r#"m.yaml:6:21: spec.rules[0].matches[0].method: "get" is not known; expected one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH; did you mean "GET"?"#,
        ],
    ),
    (
        Wrong::Rule(
            r#"{matches: [{path: {value: "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}], backendRefs: [{name: web, port: 80}]}"#,
        ),
        &[
            r#"m.yaml:6:27: spec.rules[0].matches[0].path.value: "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…" is not valid; expected at most 1024 bytes"#,
        ],
    ),
];
