//! Errors as one line.

use std::error::Error;
use std::fmt::Write;

/// `what`, the error, and what caused it, in one line.
pub fn with_causes(what: &str, error: &(dyn Error + 'static)) -> String {
    let mut text = what.to_owned();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        if !text.ends_with(&said) {
            let separator = if text.is_empty() { "" } else { ": " };
            write!(text, "{separator}{said}").expect("a String can always be written to");
        }
        next = error.source();
    }
    text
}
