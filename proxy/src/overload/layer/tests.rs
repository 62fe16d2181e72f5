use std::cell::Cell;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outrigger_filters::FilterChain;
use outrigger_snapshot::head::{RequestHead, ResponseHead};
use outrigger_snapshot::policy::{Backend, Inbound, Protocol};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use super::*;
use crate::cluster::Cluster;
use crate::cluster::breaker::ClusterBreaker;
use crate::crew::places::ConnectionPlaces;
use crate::memory::Memory;
use crate::overload::Cause;
use crate::overload::guard::Guard;
use crate::plan::{Destination, Rule};
use crate::retry::RetryPolicy;
use crate::telemetry::metrics::{Counter, Direction, RequestLabels, RequestStats};
use crate::worker::{DownstreamLimits, Shared};

/// An application that answers one request per permit of `answers`, and counts those that it was given.
struct Rig {
    overload: Arc<Overload>,
    rule: Arc<Rule>,
    answers: Rc<Semaphore>,
    given: Rc<Cell<u32>>,
    worker: Rc<Worker>,
}

impl Rig {
    fn new(protocol: Protocol, limit: f64) -> Self {
        let overload = Overload::new(1.5);
        overload.gate.set_limit(limit);
        let backend = Backend::defaults_for(protocol);
        let breaker = ClusterBreaker::new(backend.breaker, Default::default());
        let cluster =
            Cluster::new("cart".into(), protocol, &backend, 1, Default::default(), Arc::new(breaker));
        let labels = RequestLabels { direction: Direction::Inbound, rule: "r".into(), cluster: "".into() };
        let stats = Arc::new(RequestStats::new(labels, 1));
        let destination = Destination {
            cluster: Arc::new(cluster),
            filters: FilterChain::default(),
            retry: RetryPolicy::never(),
            weight: 1,
            stats: stats.clone(),
        };
        let rule = Rule {
            gate: None,
            name: "r".into(),
            filters: FilterChain::default(),
            request_timeout_ms: None,
            try_timeout_ms: None,
            destinations: vec![destination],
            weight_total: 1,
            guard: Some(Guard::new(overload.clone(), &Inbound::default())),
            trusted: Default::default(),
            health: Default::default(),
            undirected: stats,
        };
        let limits = DownstreamLimits { idle_ns: 1, head_ns: 1, age_ns: 1, detect_ns: 1, streams: 1 };
        Self {
            overload,
            rule: Arc::new(rule),
            answers: Rc::new(Semaphore::new(0)),
            given: Rc::default(),
            worker: Worker::new(
                0,
                Shared {
                    identity: Default::default(),
                    proxies: Default::default(),
                    trusted: Default::default(),
                    traces: None,
                    access_log: None,
                    plan: Default::default(),
                    lineages: Default::default(),
                    memory: Arc::new(Memory::new(Some(1_000))),
                    places: ConnectionPlaces::new(1, None),
                    limits,
                },
                Default::default(),
                7,
            ),
        }
    }

    fn send(
        &self,
        path: &str,
        priority: &'static str,
    ) -> impl Future<Output = Result<Reply, ProxyError>> + use<> {
        self.send_until(path, priority, u64::MAX)
    }

    fn send_until(
        &self,
        path: &str,
        priority: &'static str,
        deadline_ns: u64,
    ) -> impl Future<Output = Result<Reply, ProxyError>> + use<> {
        let (answers, given) = (self.answers.clone(), self.given.clone());
        let application = tower::service_fn(move |_: Exchange| {
            let (answers, given) = (answers.clone(), given.clone());
            given.set(given.get() + 1);
            Box::pin(async move {
                answers.acquire().await.map_err(|_| ProxyError::ClientGone)?.forget();
                let head = ResponseHead::new(StatusCode::OK, HeaderMap::new());
                Ok(Reply { head, body: Body::Empty, upgraded: None })
            })
        });
        let headers =
            HeaderMap::from_iter([(super::super::priority::PRIORITY, HeaderValue::from_static(priority))]);
        let exchange = Exchange {
            head: RequestHead::new(Method::GET, "cart".parse().unwrap(), path.parse().unwrap(), headers),
            body: Body::Empty,
            resolution: Resolution { rule: self.rule.clone(), destination: Some(0) },
            context: Default::default(),
            upgrade: None,
            trailers: false,
            grpc: false,
            deadline_ns,
            told_ns: 0,
            story: crate::story::Stories::default().begin(Direction::Inbound, 0),
            peer: HeaderValue::from_static("127.0.0.1"),
            to_stranger: false,
            parent: None,
        };
        ShedLayer::new(self.worker.clone()).layer(application).call(exchange)
    }
}

fn cause(result: Result<Reply, ProxyError>) -> Option<Cause> {
    match result {
        Ok(_) => None,
        Err(ProxyError::Shed { shed, retry_after_ms }) => {
            assert!((1_000..=3_000).contains(&retry_after_ms));
            Some(shed.cause)
        }
        Err(other) => unreachable!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_waits_for_the_first_that_comes_free() {
    let test = async {
        let rig = Rig::new(Protocol::Http, 1.0);
        let first = tokio::task::spawn_local(rig.send("/", "0"));
        tokio::task::yield_now().await;
        let second = tokio::task::spawn_local(rig.send("/", "0"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!((rig.given.get(), rig.overload.waiting()), (1, 1));
        rig.answers.add_permits(2);
        assert_eq!((cause(first.await.unwrap()), cause(second.await.unwrap())), (None, None));
        assert_eq!((rig.overload.in_flight(), rig.overload.waiting()), (0, 0));
        assert!(rig.overload.counts().waited_ns() >= 50_000_000);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_and_health_does_not_wait() {
    let test = async {
        let rig = Rig::new(Protocol::Http, 1.0);
        let first = tokio::task::spawn_local(rig.send("/", "0"));
        tokio::task::yield_now().await;
        assert_eq!(cause(rig.send("/", "0").await), Some(Cause::Waited));
        assert_eq!(rig.overload.counts().shed_total(0, Cause::Waited), 1);
        let health = tokio::task::spawn_local(rig.send("/grpc.health.v1.Health/Check", "0"));
        rig.answers.add_permits(2);
        assert_eq!((cause(first.await.unwrap()), cause(health.await.unwrap())), (None, None));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_keeps_the_important() {
    let test = async {
        let rig = Rig::new(Protocol::Http, 1.0);
        let _first = tokio::task::spawn_local(rig.send("/", "0"));
        tokio::task::yield_now().await;
        let mut waiting: Vec<_> = (0..64).map(|_| tokio::task::spawn_local(rig.send("/", "3"))).collect();
        tokio::task::yield_now().await;
        assert_eq!(rig.overload.waiting(), 64);
        assert_eq!(cause(rig.send("/", "3").await), Some(Cause::Full));
        let critical = tokio::task::spawn_local(rig.send("/", "0"));
        assert_eq!(cause(waiting.remove(0).await.unwrap()), Some(Cause::Displaced));
        rig.answers.add_permits(2);
        assert_eq!(cause(critical.await.unwrap()), None);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_the_queue_and_frees_no_place_of_the_application() {
    let test = async {
        for (protocol, counted) in [(Protocol::Http, 1), (Protocol::Http2, 0)] {
            let rig = Rig::new(protocol, 1.0);
            let first = tokio::task::spawn_local(rig.send("/", "0"));
            tokio::task::yield_now().await;
            let second = tokio::task::spawn_local(rig.send("/", "0"));
            tokio::task::yield_now().await;
            second.abort();
            assert!(second.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(rig.overload.waiting(), 0);
            first.abort();
            assert!(first.await.is_err_and(|error| error.is_cancelled()));
            tokio::time::sleep(Duration::from_secs(5)).await;
            // Over HTTP/2 the application is told.
            assert_eq!(rig.overload.in_flight(), counted, "{protocol:?}");
            rig.answers.add_permits(1);
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(rig.overload.in_flight(), 0);
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn whose_time_ends_in_the_queue_is_counted_as_such_and_who_gives_up_before_is_not() {
    let test = async {
        let rig = Rig::new(Protocol::Http, 1.0);
        let _first = tokio::task::spawn_local(rig.send("/", "0"));
        tokio::task::yield_now().await;
        for (waits_ms, overdue) in [(19, 0), (20, 1)] {
            let waiting = rig.send_until("/", "0", clock::now_ns() + 20_000_000);
            assert!(tokio::time::timeout(Duration::from_millis(waits_ms), waiting).await.is_err());
            let shard = rig.rule.undirected.shard(0);
            let found: Vec<u64> = shard.seldom().overdue.iter().map(Counter::value).collect();
            assert_eq!(found[Stage::Queue as usize], overdue, "after {waits_ms} ms");
            assert_eq!(found.iter().sum::<u64>(), overdue, "it is counted once");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn short_of_memory_only_the_critical_and_the_exempt_are_let_in() {
    let rig = Rig::new(Protocol::Http, 10.0);
    rig.answers.add_permits(10);
    rig.worker.memory.note(930);
    for (path, priority, refused) in
        [("/", "1", true), ("/", "0", false), ("/grpc.health.v1.Health/Check", "1", false)]
    {
        let cause = cause(rig.send(path, priority).await);
        assert_eq!(cause, refused.then_some(Cause::Memory), "{path} {priority}");
    }
    rig.worker.memory.note(0);
    assert_eq!(cause(rig.send("/", "3").await), None);
}

#[test]
fn what_fails_fast_says_nothing_about_how_long_work_takes() {
    for (status, code, grpc, told) in [
        (200, None, false, true),
        (404, None, false, true),
        (503, None, false, false),
        (200, None, true, true),
        (200, Some("0"), true, true),
        (200, Some("5"), true, true),
        (200, Some("8"), true, false),
        (200, Some("14"), true, false),
        (503, Some("0"), true, false),
        (200, Some("14"), false, true),
    ] {
        let fields = code.map(|code| (grpc::STATUS, HeaderValue::from_static(code)));
        let head = ResponseHead::new(StatusCode::from_u16(status).unwrap(), fields.into_iter().collect());
        let reply = Reply { head, body: Body::Empty, upgraded: None };
        assert_eq!(tells(&Ok(reply), grpc), told, "{status} {code:?}");
    }
    assert!(!tells(&Err(ProxyError::ClientGone), true));
}
