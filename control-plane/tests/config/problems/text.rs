//! What is no document, or too much of one: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (Wrong::Text("a: [b"), &["m.yaml:5:4: cannot be read as YAML: unclosed bracket '['"]),
    (Wrong::Text("a: *x"), &["m.yaml:5:4: cannot be read as YAML: while parsing node, found unknown anchor"]),
    (Wrong::Text("a: !shop x"), &["m.yaml:5:10: the tag !shop is not known"]),
    (Wrong::Text("? [a]\n: b"), &["m.yaml:5:3: a key must be a text"]),
    (Wrong::Text("a: &x [*x]"), &["m.yaml:5:8: this alias is part of the value that it repeats"]),
    (
        Wrong::Text("just text"),
        &[
            r#"m.yaml:5:1: a resource is an object, this is the text "just text"; expected apiVersion, kind, metadata and spec"#,
        ],
    ),
    (
        Wrong::Text("- 1"),
        &[
            "m.yaml:5:1: a resource is an object, this is a list; expected apiVersion, kind, metadata and spec",
        ],
    ),
    (
        Wrong::Text("a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
        &["m.yaml:5:52: cannot be read as YAML: recursion limit exceeded"],
    ),
];
