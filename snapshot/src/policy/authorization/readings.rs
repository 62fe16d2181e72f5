//! What servers may take a path for. They differ in whether they resolve escapes, merge slashes, or drop what follows a semicolon, and in which
//! order; who wants to pass by a rule picks what the rule does not.

use std::borrow::Cow;

/// Every other reading of a path than the one that is written; of most paths there is none.
pub(super) fn readings(path: &str) -> Vec<String> {
    if path == "*" {
        return vec!["/".to_owned()];
    }
    if !path.contains(['%', '\\', ';']) && !path.contains("//") && !path.contains("/.") {
        return Vec::new();
    }
    let once = decoded(path);
    let twice = decoded(&once);
    let mut readings = Vec::new();
    for text in [once, twice, decoded(&without_parameters(path))] {
        for (merged, bare) in [(true, true), (true, false), (false, true), (false, false)] {
            let reading = read(&text, merged, bare);
            if reading != path && !readings.contains(&reading) {
                readings.push(reading);
            }
        }
    }
    readings
}

/// A text with its escapes resolved.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('%') { Cow::Owned(decoded(text)) } else { Cow::Borrowed(text) }
}

/// Backslashes as slashes and without dot segments (RFC 3986 §6.2.2.3); `merged`: without empty ones; `bare`: without their parameters.
fn read(path: &str, merged: bool, bare: bool) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split(['/', '\\']).skip(1) {
        match if bare { before_parameters(segment) } else { segment } {
            "." => {}
            "" if merged => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

fn without_parameters(path: &str) -> String {
    path.split('/').map(before_parameters).collect::<Vec<_>>().join("/")
}

/// RFC 3986 §3.3: what follows a semicolon may be no part of the name.
fn before_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}

fn decoded(path: &str) -> String {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
