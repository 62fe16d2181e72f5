use std::time::Duration;

use http::header::HeaderValue;
use http::{HeaderMap, Method, StatusCode};
use outrigger_filters::FilterChain;
use outrigger_snapshot::head::{RequestHead, ResponseHead};
use tokio::task::LocalSet;

use super::*;
use crate::clock;
use crate::plan::{Resolution, Rule};
use crate::telemetry::metrics::{Direction, RequestLabels, RequestStats};

fn exchange(deadline_ns: u64) -> Exchange {
    let labels = RequestLabels { direction: Direction::Outbound, rule: "r".into(), cluster: "".into() };
    let rule = Rule {
        gate: None,
        name: "r".into(),
        filters: FilterChain::default(),
        request_timeout_ms: None,
        try_timeout_ms: None,
        destinations: vec![],
        weight_total: 0,
        guard: None,
        trusted: Default::default(),
        health: Default::default(),
        undirected: RequestStats::new(labels, 1).into(),
    };
    Exchange {
        head: RequestHead::new(Method::GET, "cart".parse().unwrap(), "/".parse().unwrap(), HeaderMap::new()),
        body: Body::Empty,
        resolution: Resolution { rule: rule.into(), destination: None },
        context: Default::default(),
        upgrade: None,
        trailers: false,
        grpc: false,
        deadline_ns,
        told_ns: 0,
        story: crate::story::Stories::default().begin(Direction::Outbound, 0),
        peer: HeaderValue::from_static("127.0.0.1"),
        to_stranger: false,
        parent: None,
    }
}

fn reply() -> Reply {
    Reply { head: ResponseHead::new(StatusCode::OK, HeaderMap::new()), body: Body::Empty, upgraded: None }
}

/// The layer over an inner service that answers after `inner`, or never.
async fn run(deadline: Option<Duration>, inner: Option<Duration>) -> Result<Reply, ProxyError> {
    let sweep = Sweep::new();
    tokio::task::spawn_local(sweep.clone().run(Default::default()));
    let answers = tower::service_fn(move |_: Exchange| async move {
        match inner {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
        Ok(reply())
    });
    let deadline_ns = deadline.map_or(u64::MAX, |after| clock::now_ns() + after.as_nanos() as u64);
    DeadlineLayer::new(sweep).layer(answers).call(exchange(deadline_ns)).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_passes_and_a_late_one_does_not() {
    let ms = Duration::from_millis;
    let outcome = async {
        (
            run(Some(ms(100)), Some(ms(50))).await.is_ok(),
            run(Some(ms(100)), Some(ms(500))).await,
            run(Some(ms(100)), None).await,
            run(None, Some(ms(3_600_000))).await.is_ok(),
        )
    };
    let (in_time, late, never, unlimited) = LocalSet::new().run_until(outcome).await;
    assert!(in_time && unlimited);
    for refused in [late, never] {
        assert!(matches!(refused, Err(ProxyError::Timeout(Timeout::Request))), "{refused:?}");
    }
}

/// Every idle HTTP/1.1 connection keeps room for one of these, and every HTTP/2 stream moves one.
#[test]
fn the_future_of_a_request_stays_small() {
    let limits =
        crate::worker::DownstreamLimits { idle_ns: 1, head_ns: 1, age_ns: 1, detect_ns: 1, streams: 1 };
    let worker = crate::worker::Worker::new(
        0,
        crate::worker::Shared {
            identity: Default::default(),
            proxies: Default::default(),
            trusted: Default::default(),
            traces: None,
            access_log: None,
            plan: Default::default(),
            lineages: Default::default(),
            memory: Default::default(),
            places: crate::crew::places::ConnectionPlaces::new(1, None),
            limits,
        },
        Default::default(),
        1,
    );
    let stack = crate::stack::stack(worker.clone());
    let layered = stack.clone().call(exchange(u64::MAX));
    let forwarded = crate::forward::forward(worker, exchange(u64::MAX));
    println!("layered {}, forwarded {}", size_of_val(&layered), size_of_val(&forwarded));
    assert!(size_of_val(&layered) <= 256);
    assert!(size_of_val(&forwarded) <= 1_032, "the allocator's fast path ends there");
}
