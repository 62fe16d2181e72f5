use super::*;

#[test]
fn a_family_is_one_block_however_often_it_is_opened() {
    let mut exposition = Exposition::new();
    exposition.counter("a_total", "First.").sample(&[("x", "1")], 1_u64);
    exposition.gauge("b", "Second.").sample(&[], 0.5).sample(&[("y", "2")], true);
    exposition.counter("a_total", "First.").sample(&[("x", "2"), ("z", "3")], u64::MAX);
    exposition.gauge("never", "Left out.");
    let expected = "\
# HELP a_total First.
# TYPE a_total counter
a_total{x=\"1\"} 1
a_total{x=\"2\",z=\"3\"} 18446744073709551615
# HELP b Second.
# TYPE b gauge
b 0.5
b{y=\"2\"} 1
";
    assert_eq!(exposition.finish(), expected);
}

#[test]
fn label_values_and_help_are_escaped() {
    let mut exposition = Exposition::new();
    exposition.gauge("a", "Back\\slash and\nline.").sample(&[("path", "\"\\\n{}=,")], f64::INFINITY);
    let expected = "# HELP a Back\\\\slash and\\nline.\n# TYPE a gauge\na{path=\"\\\"\\\\\\n{}=,\"} +Inf\n";
    assert_eq!(exposition.finish(), expected);
}

#[test]
fn buckets_are_cumulative() {
    let mut exposition = Exposition::new();
    exposition.histogram("d_seconds", "Durations.").sample(
        &[("r", "a")],
        [(0.001, 2), (0.5, 0), (10.0, 3)],
        1,
        4.25,
    );
    let expected = "\
# HELP d_seconds Durations.
# TYPE d_seconds histogram
d_seconds_bucket{r=\"a\",le=\"0.001\"} 2
d_seconds_bucket{r=\"a\",le=\"0.5\"} 2
d_seconds_bucket{r=\"a\",le=\"10\"} 5
d_seconds_bucket{r=\"a\",le=\"+Inf\"} 6
d_seconds_sum{r=\"a\"} 4.25
d_seconds_count{r=\"a\"} 6
";
    assert_eq!(exposition.finish(), expected);
}

#[test]
fn native_buckets_are_runs_and_differences() {
    let native = Native {
        schema: 3,
        zero_threshold: 0.5,
        zero: 1,
        // Two neighbours, then a gap of five.
        buckets: vec![(-3, 2), (-2, 5), (4, 1)],
    };
    let mut exposition = Exposition::of(Format::Protobuf);
    let values = Distribution { beyond: 9, sum: 2.0, native: Some(native), ..Distribution::default() };
    exposition.histogram("d", "D.").distribution(&[("r", "a")], &values);
    let page = exposition.page();
    assert_eq!(usize::from(page[0]), page.len() - 1, "its length comes first");
    let has = |part: &[u8]| page.windows(part.len()).any(|found| found == part);
    assert!(has(&[0x0a, 1, b'd', 0x12, 2, b'D', b'.', 0x18, 4]), "name, help and type");
    assert!(has(&[0x0a, 6, 0x0a, 1, b'r', 0x12, 1, b'a']), "a label");
    assert!(has(&[0x28, 6, 0x31, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0x38, 1]), "schema and zero");
    // Offsets -3 and 5, lengths 2 and 1, then 2, 3 more, 4 less; signs are in the last bit.
    let spans = [0x62, 4, 0x08, 5, 0x10, 2, 0x62, 4, 0x08, 10, 0x10, 1];
    assert!(has(&[&spans[..], &[0x6a, 3, 4, 6, 7]].concat()), "{page:x?}");
}

#[test]
fn bounds_of_open_metrics_are_no_whole_numbers() {
    let mut exposition = Exposition::of(Format::OpenMetrics);
    let exemplars = vec![Exemplar { bucket: 1, trace: 7, value: 3.5, at_unix_ms: 1_500 }];
    let values =
        Distribution { buckets: vec![(1.0, 2)], beyond: 1, sum: 4.0, exemplars, ..Distribution::default() };
    exposition.histogram("d", "A \"D\".").distribution(&[], &values);
    let expected = "\
# HELP d A \\\"D\\\".
# TYPE d histogram
d_bucket{le=\"1.0\"} 2
d_bucket{le=\"+Inf\"} 3 # {trace_id=\"00000000000000000000000000000007\"} 3.5 1.5
d_sum 4
d_count 3
# EOF
";
    assert_eq!(exposition.finish(), expected);
}
