use http::Request;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::error::ProxyError;
use crate::story::{Stories, Story};
use crate::telemetry::metrics::Direction;

fn log(format: Format, share: u32, room: usize) -> (Rc<AccessLog>, Receiver<Batch>, Arc<Counts>) {
    let (out, batches) = channel(room);
    let counts = Arc::<Counts>::default();
    let shared = Shared { choice: Choice { format, share }, out, counts: counts.clone() };
    (AccessLog::new(shared), batches, counts)
}

fn told(path: &str, id: &str) -> Rc<Story> {
    let story = Stories::default().begin(Direction::Outbound, 1_000);
    let parts = Request::builder().method("GET").uri(path).header("host", "cart:80").body(()).unwrap();
    story.arrives(&parts.into_parts().0, [1, 2]);
    let mut headers = http::HeaderMap::new();
    headers.insert("x-request-id", http::HeaderValue::from_bytes(id.as_bytes()).unwrap());
    let head = outrigger_snapshot::head::RequestHead::new(
        http::Method::GET,
        "cart:80".parse().unwrap(),
        "/".parse().unwrap(),
        headers,
    );
    story.is_named(&head, true, false, None);
    story.comes_from("[::ffff:10.0.0.9]:4711".parse().unwrap(), None, None);
    story.is_sent("10.0.0.1:80".parse().unwrap(), 2_000, false);
    story.sends(120);
    story
}

fn lines(mut batches: Receiver<Batch>) -> Vec<String> {
    let all = std::iter::from_fn(|| batches.try_recv().ok()).flat_map(|batch| batch.text).collect();
    String::from_utf8(all).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_line_says_what_became_of_a_request() {
    let (log, batches, _) = log(Format::Json, 10_000, 8);
    let story = told("/basket?token=hush", "mine\u{ff}\"");
    log.over(&story.told(), Some(200), 1_501_000, || unreachable!("all have one"));
    story.fails(&ProxyError::NoHost, 5_000);
    log.over(&story.told(), Some(404), 2_000_000_000, || unreachable!("all have one"));
    drop(log);
    let lines = lines(batches);
    let [good, bad]: [Value; 2] = [0, 1].map(|nth: usize| serde_json::from_str(&lines[nth]).unwrap());
    for (key, value) in [
        ("outrigger.direction", "outbound".into()),
        ("http.request.method", "GET".into()),
        ("server.address", "cart".into()),
        ("server.port", 80.into()),
        ("url.path", "/basket".into()),
        ("http.response.status_code", 200.into()),
        ("duration_ms", 1.5.into()),
        ("http.request.body.size", 0.into()),
        ("http.response.body.size", 120.into()),
        ("outrigger.request_id", "mine\u{ff}\"".into()),
        ("client.address", "10.0.0.9".into()),
        ("outrigger.tries", 1.into()),
        ("network.peer.address", "10.0.0.1".into()),
        ("network.peer.port", 80.into()),
        ("error.type", Value::Null),
    ] {
        assert_eq!(good[key], value, "{key}: {good:#}");
    }
    assert_eq!((&bad["error.type"], &bad["http.response.status_code"]), (&"no_host".into(), &404.into()));
    let time = good["timestamp"].as_str().unwrap();
    assert!(time.len() == 27 && time.starts_with("20") && time.ends_with('Z'), "{time}");
}

/// Behind an edge that takes 443, a host without a port is of that port.
#[test]
fn the_port_is_the_one_that_it_came_for() {
    let (log, batches, _) = log(Format::Json, 10_000, 8);
    let story = told("/", "one");
    for port in [Some(443), None] {
        story.comes_from("10.0.0.9:4711".parse().unwrap(), None, port);
        log.over(&story.told(), Some(200), 5, || 0);
    }
    drop(log);
    let ports: Vec<Value> = lines(batches)
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["server.port"].clone())
        .collect();
    assert_eq!(ports, [443, 80]);
}

#[test]
fn words_stay_words() {
    let (log, batches, _) = log(Format::Text, 10_000, 8);
    log.over(&told("/a", "a b\"c").told(), None, 1_501_000, || 0);
    drop(log);
    let line = &lines(batches)[0];
    let words: Vec<_> = line.split(' ').skip(1).collect();
    let expected = "outbound GET cart:80 /a - 1.500ms in=0 out=120 tries=1 reason=- id=a\\x20b\\x22c from=[::ffff:10.0.0.9]:4711 to=10.0.0.1:80";
    assert_eq!(words.join(" "), expected);
}

#[test]
fn failures_have_a_line_whatever_the_share() {
    let (log, batches, _) = log(Format::Text, 100, 8);
    let mut nth = 0;
    for _ in 0..10_000 {
        log.over(&told("/good", "a").told(), Some(200), 1_501_000, || {
            nth += 1;
            nth
        });
    }
    for _ in 0..7 {
        log.over(&told("/bad", "a").told(), Some(503), 1_501_000, || unreachable!("failures are not drawn"));
    }
    drop(log);
    let lines = lines(batches);
    let of = |path: &str| lines.iter().filter(|line| line.contains(path)).count();
    assert_eq!((of("/good"), of("/bad")), (100, 7));
}

#[test]
fn lines_that_find_no_room_are_counted() {
    for format in [Format::Json, Format::Otlp] {
        let (log, mut batches, counts) = log(format, 10_000, 1);
        let story = told(&format!("/{}", "x".repeat(60_000)), "a");
        for _ in 0..1_000 {
            log.over(&story.told(), Some(200), 1_501_000, || 0);
        }
        drop(log);
        let batch = batches.try_recv().unwrap();
        let bytes = batch.text.len() + batch.records.iter().map(Record::bytes).sum::<usize>();
        assert!((BATCH_BYTES..BATCH_BYTES + 2_048).contains(&bytes), "{format:?}: {bytes}");
        assert_eq!(batch.count + counts.count_lost()[0], 1_000);
        assert!(batches.try_recv().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_handed_on_after_a_while() {
    let (log, mut batches, _) = log(Format::Json, 10_000, 8);
    let story = told("/", "a");
    let going = log.clone();
    let set = tokio::task::LocalSet::new();
    set.spawn_local(async move { going.keep_going().await });
    set.run_until(async {
        for _ in 0..2 {
            log.over(&story.told(), Some(200), 1_501_000, || 0);
            tokio::time::sleep(WAIT / 2).await;
            assert!(batches.try_recv().is_err());
            log.over(&story.told(), Some(200), 1_501_000, || 0);
            tokio::time::sleep(WAIT).await;
            assert_eq!(batches.try_recv().unwrap().count, 2);
        }
    })
    .await;
}
