//! Filters: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::Rule(
            "{filters: [{type: RequestMirror, requestMirror: {}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            "m.yaml:6:19: spec.rules[0].filters[0].type: RequestMirror is not supported by Outrigger yet; expected one of RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, ExtensionRef",
            "m.yaml:6:34: spec.rules[0].filters[0].requestMirror: is not supported by Outrigger yet",
        ],
    ),
    (
        Wrong::Rule("{filters: [{type: CORS, cors: {}}], backendRefs: [{name: web, port: 80}]}"),
        &[
            "m.yaml:6:19: spec.rules[0].filters[0].type: CORS is not supported by Outrigger yet; expected one of RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, ExtensionRef",
            "m.yaml:6:25: spec.rules[0].filters[0].cors: is not supported by Outrigger yet",
        ],
    ),
    (
        Wrong::Rule("{filters: [{type: RequestHeaderModifer}], backendRefs: [{name: web, port: 80}]}"),
        &[
            r#"m.yaml:6:19: spec.rules[0].filters[0].type: "RequestHeaderModifer" is not known; expected one of RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, ExtensionRef; did you mean "RequestHeaderModifier"?"#,
        ],
    ),
    (
        Wrong::Rule("{filters: [{type: URLRewrite}], backendRefs: [{name: web, port: 80}]}"),
        &[
            "m.yaml:6:12: spec.rules[0].filters[0].urlRewrite: is missing; expected the settings of URLRewrite",
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: URLRewrite, urlRewrite: {hostname: a.example}, requestRedirect: {port: 80}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            "m.yaml:6:83: spec.rules[0].filters[0].requestRedirect: belongs to RequestRedirect, and this is URLRewrite; expected only urlRewrite",
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: URLRewrite, urlRewrite: {hostname: a.example}}, {type: URLRewrite, urlRewrite: {hostname: b.example}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            "m.yaml:6:74: spec.rules[0].filters[1].type: URLRewrite stands in filters[0] too; expected each type once",
        ],
    ),
    (
        Wrong::Rule("{filters: [{type: URLRewrite, urlRewrite: {}}], backendRefs: [{name: web, port: 80}]}"),
        &["m.yaml:6:43: spec.rules[0].filters[0].urlRewrite: changes nothing; expected hostname or path"],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: []}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            "m.yaml:6:65: spec.rules[0].filters[0].requestHeaderModifier: changes nothing; expected set, add or remove",
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}], remove: [Content-Length]}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            "m.yaml:6:79: spec.rules[0].filters[0].requestHeaderModifier.set[0].name: host carries the framing or the target of the message and cannot be edited; expected urlRewrite.hostname",
            "m.yaml:6:106: spec.rules[0].filters[0].requestHeaderModifier.remove[0]: content-length carries the framing or the target of the message and cannot be edited; expected another header",
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: b}, {name: A, value: c}]}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:6:102: spec.rules[0].filters[0].responseHeaderModifier.add[1].name: "a" stands twice; expected each header once"#,
        ],
    ),
    (
        Wrong::Rule(
            r#"{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: "b\nc: d"}]}}], backendRefs: [{name: web, port: 80}]}"#,
        ),
        &[
            r#"m.yaml:6:91: spec.rules[0].filters[0].responseHeaderModifier.add[0].value: "b\nc: d" is not valid; expected a header value: visible ASCII, spaces and tabs inside, at most 4096 bytes"#,
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /a}}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            "m.yaml:6:50: spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: is missing; expected the new path",
            "m.yaml:6:94: spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: belongs to the other type; expected only replaceFullPath",
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: a}}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:6:91: spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: "a" is not a path; expected a path that starts with '/'"#,
        ],
    ),
    (
        Wrong::Rule(
            "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            "m.yaml:6:142: spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: there is no prefix to replace in every match; expected a PathPrefix in every match of the rule",
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            "m.yaml:6:85: spec.rules[0].backendRefs: would never be used: the rule redirects; expected no backend beside a RequestRedirect",
        ],
    ),
    (
        Wrong::Rule("{filters: [{type: RequestRedirect, requestRedirect: {}}]}"),
        &[
            "m.yaml:6:53: spec.rules[0].filters[0].requestRedirect: says nothing; expected at least one of scheme, hostname, path, port, statusCode",
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: RequestRedirect, requestRedirect: {scheme: ftp, port: 0, statusCode: 305}}]}",
        ),
        &[
            r#"m.yaml:6:62: spec.rules[0].filters[0].requestRedirect.scheme: "ftp" is not known; expected one of http, https"#,
            "m.yaml:6:73: spec.rules[0].filters[0].requestRedirect.port: is the number 0; expected a whole number from 1 to 65535",
            "m.yaml:6:88: spec.rules[0].filters[0].requestRedirect.statusCode: 305 is no redirect; expected 301, 302, 303, 307 or 308",
        ],
    ),
    (
        Wrong::Rule(
            "{filters: [{type: RequestRedirect, requestRedirect: {port: 81}}, {type: URLRewrite, urlRewrite: {hostname: a.example}}]}",
        ),
        &[
            "m.yaml:6:66: spec.rules[0].filters[1]: nothing is left to rewrite: the rule redirects; expected either RequestRedirect or URLRewrite",
        ],
    ),
    (
        Wrong::Rule(
            "{backendRefs: [{name: web, port: 80, filters: [{type: RequestRedirect, requestRedirect: {port: 81}}]}]}",
        ),
        &[
            "m.yaml:6:55: spec.rules[0].backendRefs[0].filters[0].type: a backend cannot redirect; expected a redirect among the filters of the rule",
        ],
    ),
];
