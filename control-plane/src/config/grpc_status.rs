//! The names of gRPC statuses (gRPC core concepts, "Status codes and their use in gRPC").

/// The errors in the order of their numbers, from 1.
pub(crate) const NAMES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What is accepted, for a sentence.
pub(crate) const EXPECTED: &str = "the name of a gRPC error, like UNAVAILABLE, or its number, 1 to 16";

/// The number of the error that a person means: `DEADLINE_EXCEEDED`, `DeadlineExceeded`, `deadline-exceeded` and `"4"` are the same.
pub(crate) fn named(text: &str) -> Option<u16> {
    if let Ok(number) = text.parse::<i64>() {
        return numbered(number);
    }
    let letters = |text: &str| -> String {
        text.chars()
            .filter(|letter| !matches!(letter, '_' | '-'))
            .map(|letter| letter.to_ascii_uppercase())
            .collect()
    };
    let written = letters(text);
    let found = NAMES.iter().position(|name| letters(name) == written)?;
    numbered(found as i64 + 1)
}

/// The number of an error; `None` if there is no such error.
pub(crate) fn numbered(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| (1..=NAMES.len()).contains(&usize::from(*number)))
}

/// The name of a number.
pub(crate) fn name(number: u16) -> &'static str {
    usize::from(number)
        .checked_sub(1)
        .and_then(|index| NAMES.get(index))
        .copied()
        .unwrap_or("an unknown status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_known_by_each_way_to_write_it() {
        for (text, number) in [
            ("UNAVAILABLE", Some(14)),
            ("unavailable", Some(14)),
            ("DeadlineExceeded", Some(4)),
            ("resource-exhausted", Some(8)),
            ("16", Some(16)),
            ("OK", None),
            ("0", None),
            ("17", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(named(text), number, "{text}");
        }
        for (index, text) in NAMES.iter().enumerate() {
            assert_eq!(named(text).map(name), Some(*text));
            assert_eq!(named(text), numbered(index as i64 + 1));
        }
    }
}
