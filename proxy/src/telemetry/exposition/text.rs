//! The text formats: that of Prometheus, version 0.0.4, and OpenMetrics 1.0, which has exemplars.

use std::fmt;
use std::io::Write as _;

use super::{Distribution, Exemplar, Family, Format, Kind, Value};

/// What a page of OpenMetrics ends with.
pub(super) const END: &[u8] = b"# EOF\n";

/// The whole block of a family.
pub(super) fn family(family: &Family, page: &mut Vec<u8>) {
    let Family { name, help, kind, samples, .. } = family;
    // OpenMetrics has the suffix with the samples only.
    let name = match (family.format, kind) {
        (Format::OpenMetrics, Kind::Counter) => name.trim_end_matches("_total"),
        _ => name,
    };
    push(page, format_args!("# HELP {name} "));
    escaped(page, help, family.format == Format::OpenMetrics);
    push(page, format_args!("\n# TYPE {name} {kind}\n"));
    page.extend_from_slice(samples);
}

/// One sample.
pub(super) fn sample(family: &mut Family, labels: &[(&str, &str)], value: Value) {
    line(family, "", labels, None, value, None);
}

/// One distribution, by its buckets.
pub(super) fn distribution(family: &mut Family, labels: &[(&str, &str)], values: &Distribution) {
    let mut count = 0_u64;
    let bounds = values.buckets.iter().map(|(bound, values)| (bound.to_string(), *values));
    for (bucket, (mut bound, more)) in bounds.chain([("+Inf".to_owned(), values.beyond)]).enumerate() {
        count = count.wrapping_add(more);
        let open = family.format == Format::OpenMetrics;
        if open && bucket < values.buckets.len() && !bound.contains('.') {
            bound.push_str(".0");
        }
        let exemplar = values.exemplars.iter().find(|exemplar| open && exemplar.bucket == bucket);
        line(family, "_bucket", labels, Some(&bound), count.into(), exemplar);
    }
    line(family, "_sum", labels, None, values.sum.into(), None);
    line(family, "_count", labels, None, count.into(), None);
}

fn line(
    family: &mut Family,
    suffix: &str,
    labels: &[(&str, &str)],
    bound: Option<&str>,
    value: Value,
    exemplar: Option<&Exemplar>,
) {
    let (name, page) = (family.name, &mut family.samples);
    // A page may have a hundred thousand of these: pieces are copied, not formatted.
    page.extend_from_slice(name.as_bytes());
    page.extend_from_slice(suffix.as_bytes());
    let bound = bound.map(|bound| ("le", bound));
    let mut opening = b'{';
    for (label, text) in labels.iter().copied().chain(bound) {
        page.push(opening);
        page.extend_from_slice(label.as_bytes());
        page.extend_from_slice(b"=\"");
        escaped(page, text, true);
        page.push(b'"');
        opening = b',';
    }
    if opening == b',' {
        page.push(b'}');
    }
    push(page, format_args!(" {value}"));
    if let Some(Exemplar { trace, value, at_unix_ms, .. }) = exemplar {
        let at = *at_unix_ms as f64 / 1_000.0;
        push(page, format_args!(" # {{trace_id=\"{trace:032x}\"}} {value} {at}"));
    }
    page.push(b'\n');
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(value) => write!(formatter, "{value}"),
            Self::Real(value) if value == f64::INFINITY => formatter.write_str("+Inf"),
            Self::Real(value) if value == f64::NEG_INFINITY => formatter.write_str("-Inf"),
            Self::Real(value) => write!(formatter, "{value}"),
        }
    }
}

fn escaped(page: &mut Vec<u8>, text: &str, quote: bool) {
    let special = |byte: &u8| matches!(byte, b'\\' | b'\n') || quote && *byte == b'"';
    if !text.as_bytes().iter().any(special) {
        return page.extend_from_slice(text.as_bytes());
    }
    for byte in text.bytes() {
        match byte {
            b'\n' => page.extend_from_slice(b"\\n"),
            _ if special(&byte) => page.extend_from_slice(&[b'\\', byte]),
            _ => page.push(byte),
        }
    }
}

fn push(page: &mut Vec<u8>, what: fmt::Arguments<'_>) {
    // A Vec takes every write.
    let _ = page.write_fmt(what);
}
