use http::Method;

use super::super::exposition::Format;
use super::super::kind::{Ending, Verb};
use super::super::kinds::{Finished, IDLE_NS, KINDS_MAX};
use super::*;
use crate::local_reply::look_up;

const SECOND: u64 = 1_000_000_000;

fn stats(direction: Direction) -> Arc<RequestStats> {
    let labels = RequestLabels { direction, rule: "shop/r".into(), cluster: "shop/cart:80".into() };
    Arc::new(RequestStats::new(labels, 2))
}

fn finished(status: u16, duration_ns: u64, now_ns: u64) -> Finished {
    let kind = Kind::new(Verb::of(&Method::GET), Some(status), Ending::default());
    Finished { status: Some(status), kind, failed: None, duration_ns, now_ns, trace: None }
}

fn finish(workers: &[Arc<WorkerStats>], worker: usize, stats: &RequestStats, finished: &Finished) {
    stats.shard(worker).in_flight.add(1);
    workers[worker].finish(stats, worker, finished);
}

fn workers() -> Vec<Arc<WorkerStats>> {
    (0..2).map(|_| Arc::new(WorkerStats::default())).collect()
}

fn page(all: &[Arc<RequestStats>], workers: &[Arc<WorkerStats>], now_ns: u64, format: Format) -> String {
    let at = Instants { now_ns, now_ms: 1_700_000_000_000 };
    let mut exposition = Exposition::of(format);
    write_requests(all, at, &mut exposition);
    write_unrouted(workers, at, &mut exposition);
    exposition.finish()
}

#[test]
fn what_workers_count_is_one_series() {
    let (workers, stats) = (workers(), stats(Direction::Inbound));
    for (worker, duration_ns) in [(0, 400_000), (1, 400_000), (1, 3 * SECOND)] {
        finish(&workers, worker, &stats, &finished(200, duration_ns, SECOND));
    }
    let text = page(&[stats], &workers, SECOND, Format::Text);
    let base = "{rule=\"shop/r\",cluster=\"shop/cart:80\",http_request_method=\"GET\",http_response_status_code=\"200\"";
    for (suffix, value) in [
        ("_bucket", ",le=\"0.0005\"} 2"),
        ("_bucket", ",le=\"2.5\"} 2"),
        ("_bucket", ",le=\"5\"} 3"),
        ("_bucket", ",le=\"+Inf\"} 3"),
        ("_sum", "} 3.0008"),
        ("_count", "} 3"),
    ] {
        let line = format!("http_server_request_duration_seconds{suffix}{base}{value}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    let total = "outrigger_requests_total{direction=\"inbound\",rule=\"shop/r\",cluster=\"shop/cart:80\",code_class=\"2xx\"} 3\n";
    assert!(text.contains(total), "{text}");
}

#[test]
fn series_that_saw_nothing_for_ten_minutes_are_left_out_and_go_on_where_they_were() {
    let (workers, stats) = (workers(), stats(Direction::Outbound));
    finish(&workers, 0, &stats, &finished(200, 1, SECOND));
    finish(&workers, 0, &stats, &finished(404, 1, SECOND));
    let has = |now_ns: u64, part: &str| {
        page(std::slice::from_ref(&stats), &workers, now_ns, Format::Text)
            .lines()
            .any(|line| line.contains("shop/cart") && line.contains(part))
    };
    assert!(has(2 * SECOND, "http_response_status_code=\"404\"") && has(2 * SECOND, "code_class=\"4xx\"} 1"));
    finish(&workers, 0, &stats, &finished(200, 1, IDLE_NS));
    let later = SECOND + IDLE_NS;
    assert!(!has(later, "http_response_status_code=\"404\""), "no request was like that");
    assert!(has(later, "code_class=\"4xx\"} 1"), "but there are others of its rule");
    assert!(!has(3 * IDLE_NS, ""), "nothing at all");
    stats.shard(1).in_flight.add(1);
    assert!(has(4 * IDLE_NS, "http_client_active_requests"), "one has come");
    workers[1].finish(&stats, 1, &finished(200, 1, 4 * IDLE_NS));
    assert!(has(4 * IDLE_NS, "code_class=\"2xx\"} 3"), "it has not begun anew");
}

#[test]
fn what_there_is_no_room_for_is_one_series_for_each_class() {
    let (workers, stats) = (workers(), stats(Direction::Outbound));
    for status in 100..100 + KINDS_MAX as u16 {
        finish(&workers, 0, &stats, &finished(status, 1, SECOND));
    }
    for (status, times) in [(404, 2), (410, 1), (503, 1)] {
        for _ in 0..times {
            finish(&workers, 0, &stats, &finished(status, 1, SECOND));
        }
    }
    let text = page(&[stats], &workers, SECOND, Format::Text);
    for (class, count) in [("4xx", 3), ("5xx", 1)] {
        let line = format!(
            "_count{{rule=\"__overflow__\",cluster=\"__overflow__\",http_request_method=\"__overflow__\",\
             http_response_status_code=\"{class}\",error_type=\"{class}\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(text.contains("outrigger_duration_series_overflow_total 4\n"));
    assert!(text.contains(&format!("outrigger_duration_series {KINDS_MAX}\n")));
    let by_rule = "outrigger_requests_total{direction=\"outbound\",rule=\"shop/r\",cluster=\"shop/cart:80\",code_class=\"4xx\"} 3\n";
    assert!(text.contains(by_rule), "the rule is known all the same");
}

#[test]
fn a_traced_request_is_an_exemplar_of_its_bucket() {
    let (workers, stats) = (workers(), stats(Direction::Outbound));
    for (worker, trace, now_ns) in [(0, 1, SECOND), (1, 0xab, 2 * SECOND)] {
        let traced = Finished { trace: Some(trace), ..finished(200, 20_000_000, now_ns) };
        finish(&workers, worker, &stats, &traced);
    }
    let all = [stats];
    let text = page(&all, &workers, 5 * SECOND, Format::OpenMetrics);
    let exemplar = "le=\"0.025\"} 2 # {trace_id=\"000000000000000000000000000000ab\"} 0.02 1699999997\n";
    assert!(text.contains(exemplar), "{text}");
    assert_eq!(text.matches("trace_id").count(), 1, "the last of them");
    assert!(text.contains("le=\"1.0\"}") && text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("# TYPE outrigger_requests counter\noutrigger_requests_total{"));
    assert!(!page(&all, &workers, 5 * SECOND, Format::Text).contains("trace_id"));
}

/// How many requests that were answered with 200 the histogram has, if it is shown.
fn counted(stats: &Arc<RequestStats>, workers: &[Arc<WorkerStats>], now_ns: u64) -> Option<u64> {
    let text = page(std::slice::from_ref(stats), workers, now_ns, Format::Text);
    let mut lines = text.lines().filter(|line| {
        line.starts_with("http_client_request_duration_seconds_count{rule=\"shop/r\"")
            && line.contains("http_response_status_code=\"200\"")
    });
    lines.next().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[test]
fn no_counter_goes_back_while_one_worker_of_several_sees_nothing() {
    let (workers, stats) = (workers(), stats(Direction::Outbound));
    (0..3).for_each(|_| finish(&workers, 0, &stats, &finished(200, 1, SECOND)));
    finish(&workers, 1, &stats, &finished(200, 1, IDLE_NS));
    assert_eq!(counted(&stats, &workers, IDLE_NS), Some(4));
    assert_eq!(counted(&stats, &workers, SECOND + IDLE_NS), Some(4), "the first has seen nothing for long");
    finish(&workers, 0, &stats, &finished(200, 1, 2 * IDLE_NS));
    assert_eq!(counted(&stats, &workers, 2 * IDLE_NS), Some(5));
    assert_eq!(counted(&stats, &workers, 4 * IDLE_NS), None, "neither has");
    finish(&workers, 1, &stats, &finished(200, 1, 4 * IDLE_NS));
    assert_eq!(counted(&stats, &workers, 4 * IDLE_NS), Some(6), "it goes on where it was");
}

#[test]
fn a_kind_gives_its_place_away_only_where_no_worker_sees_it() {
    let (workers, stats) = (workers(), stats(Direction::Outbound));
    for status in 200..200 + KINDS_MAX as u16 {
        finish(&workers, 0, &stats, &finished(status, 1, SECOND));
    }
    finish(&workers, 1, &stats, &finished(200, 1, IDLE_NS));
    // To the first worker all are idle; to the second, one is not.
    let later = SECOND + IDLE_NS;
    finish(&workers, 0, &stats, &finished(500, 1, later));
    assert_eq!(counted(&stats, &workers, later), Some(2));
    let text = page(std::slice::from_ref(&stats), &workers, later, Format::Text);
    assert!(text.contains("http_response_status_code=\"500\",error_type=\"500\"} 1\n"), "{text}");
    assert!(text.contains("outrigger_duration_series_overflow_total 0\n"), "another gave its place");
}

#[test]
fn what_failed_is_counted_by_reason_whatever_its_status() {
    let (workers, stats) = (workers(), stats(Direction::Outbound));
    let failed = look_up("response_broken").map(|(number, ..)| number);
    for worker in [0, 1] {
        finish(&workers, worker, &stats, &Finished { failed, ..finished(200, 1, SECOND) });
    }
    finish(&workers, 0, &stats, &finished(200, 1, SECOND));
    let text = page(&[stats], &workers, SECOND, Format::Text);
    let line = "outrigger_request_failures_total{direction=\"outbound\",rule=\"shop/r\",cluster=\"shop/cart:80\",\
                reason=\"response_broken\",fault=\"upstream\"} 2\n";
    assert!(text.contains(line), "{text}");
}
