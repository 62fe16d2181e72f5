//! The protobuf format of Prometheus (`io.prometheus.client.MetricFamily`, each after its length): the one that native histograms come in.
//! Its messages are few and flat, so they are written by hand; the numbers are those of `metrics.proto`.

use super::{Distribution, Exemplar, Family, Kind, Native, Value};

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;

/// The whole message of a family, after its length.
pub(super) fn family(family: &Family, page: &mut Vec<u8>) {
    let mut head = Vec::with_capacity(family.name.len() + family.help.len() + 16);
    bytes(&mut head, 1, family.name.as_bytes());
    bytes(&mut head, 2, family.help.as_bytes());
    let kind = match family.kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram => 4,
    };
    number(&mut head, 3, kind);
    varint(page, (head.len() + family.samples.len()) as u64);
    page.extend_from_slice(&head);
    page.extend_from_slice(&family.samples);
}

/// One sample, as the field `metric` of its family.
pub(super) fn sample(family: &mut Family, labels: &[(&str, &str)], value: Value) {
    let mut inner = Vec::with_capacity(9);
    real(&mut inner, 1, value.real());
    let field = if family.kind == Kind::Counter { 3 } else { 2 };
    metric(family, labels, field, &inner);
}

/// One distribution, by its buckets of both kinds.
pub(super) fn distribution(family: &mut Family, labels: &[(&str, &str)], values: &Distribution) {
    let mut inner = Vec::with_capacity(512);
    let mut count = 0_u64;
    let bounds = values.buckets.iter().copied().chain([(f64::INFINITY, values.beyond)]);
    for (index, (bound, more)) in bounds.enumerate() {
        count = count.wrapping_add(more);
        let mut bucket = Vec::with_capacity(32);
        number(&mut bucket, 1, count);
        real(&mut bucket, 2, bound);
        if let Some(exemplar) = values.exemplars.iter().find(|exemplar| exemplar.bucket == index) {
            bytes(&mut bucket, 3, &encoded(exemplar));
        }
        bytes(&mut inner, 3, &bucket);
    }
    number(&mut inner, 1, count);
    real(&mut inner, 2, values.sum);
    if let Some(native) = &values.native {
        buckets(&mut inner, native);
        for exemplar in &values.exemplars {
            bytes(&mut inner, 16, &encoded(exemplar));
        }
    }
    metric(family, labels, 7, &inner);
}

/// Runs of neighbouring buckets, then how each differs from the one before.
fn buckets(message: &mut Vec<u8>, native: &Native) {
    number(message, 5, zigzag(native.schema.into()));
    real(message, 6, native.zero_threshold);
    number(message, 7, native.zero);
    let (mut spans, mut deltas) = (Vec::<(i32, u64)>::new(), Vec::new());
    let (mut next, mut before) = (0, 0_i64);
    for (index, count) in &native.buckets {
        match spans.last_mut() {
            Some((_, length)) if *index == next => *length += 1,
            _ => spans.push((*index - next, 1)),
        }
        next = *index + 1;
        let count = *count as i64;
        varint(&mut deltas, zigzag(count.wrapping_sub(before)));
        before = count;
    }
    if spans.is_empty() {
        // What has no span at all is taken for a histogram of the other kind.
        spans.push((0, 0));
    }
    for (offset, length) in spans {
        let mut span = Vec::with_capacity(8);
        number(&mut span, 1, zigzag(offset.into()));
        number(&mut span, 2, length);
        bytes(message, 12, &span);
    }
    bytes(message, 13, &deltas);
}

fn encoded(exemplar: &Exemplar) -> Vec<u8> {
    let mut message = Vec::with_capacity(80);
    bytes(&mut message, 1, &label("trace_id", &format!("{:032x}", exemplar.trace)));
    real(&mut message, 2, exemplar.value);
    let mut time = Vec::with_capacity(16);
    number(&mut time, 1, exemplar.at_unix_ms / 1_000);
    number(&mut time, 2, exemplar.at_unix_ms % 1_000 * 1_000_000);
    bytes(&mut message, 3, &time);
    message
}

fn metric(family: &mut Family, labels: &[(&str, &str)], field: u64, value: &[u8]) {
    let mut message = Vec::with_capacity(value.len() + 128);
    for (name, text) in labels {
        bytes(&mut message, 1, &label(name, text));
    }
    bytes(&mut message, field, value);
    bytes(&mut family.samples, 4, &message);
}

fn label(name: &str, text: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(name.len() + text.len() + 4);
    bytes(&mut message, 1, name.as_bytes());
    bytes(&mut message, 2, text.as_bytes());
    message
}

fn number(message: &mut Vec<u8>, field: u64, value: u64) {
    varint(message, field << 3 | VARINT);
    varint(message, value);
}

fn real(message: &mut Vec<u8>, field: u64, value: f64) {
    varint(message, field << 3 | FIXED_64);
    message.extend_from_slice(&value.to_le_bytes());
}

fn bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(message, field << 3 | BYTES);
    varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}
