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
