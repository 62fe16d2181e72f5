//! Prometheus text, read.

use std::borrow::Cow;

/// One sample.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) value: f64,
}

impl Sample<'_> {
    /// The value of a label; empty: there is none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
    }

    /// All of its labels but one.
    pub(super) fn without(&self, name: &str) -> String {
        let others = self.labels.iter().filter(|(label, _)| *label != name);
        others.map(|(label, value)| format!("{label}={value:?},")).collect()
    }
}

/// All samples; what is none is left out.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label, value));
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// A label's value and what follows its closing quote.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let (mut value, mut characters) = (String::new(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP a b\n# TYPE a counter\na 1\nb{x=\"1\",y=\"a \\\"q\\\\ }\\n,\"} 2.5 170000\nc{le=\"+Inf\"} +Inf\nnonsense\nd{ 1\n";
        let read: Vec<_> = samples(text).collect();
        assert_eq!(read.iter().map(|sample| sample.name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((read[1].label("x"), read[1].label("y"), read[1].value), ("1", "a \"q\\ }\n,", 2.5));
        assert_eq!((read[1].label("z"), read[2].label("le"), read[2].value), ("", "+Inf", f64::INFINITY));
    }
}
