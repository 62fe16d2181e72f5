use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use outrigger_snapshot::policy::{Balance, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, yield_now};

use super::*;
use crate::cluster::balance::{EndpointSet, Entry};
use crate::cluster::health::{Check, ClusterHealth, Phase};
use crate::identity::Identity;
use crate::telemetry::metrics::Direction;

/// Until something that happens has happened.
const SOON: Duration = Duration::from_secs(20);

fn endpoint(cluster: &str, address: SocketAddr) -> Arc<Endpoint> {
    let (direction, cluster) = (Direction::Outbound, cluster.parse().unwrap());
    let key = EndpointKey { direction, cluster, address, tls: Default::default() };
    let endpoint = Arc::new(Endpoint::new(0, key, Arc::new(ClusterHealth::default())));
    endpoint.join(0, false, false);
    endpoint
}

fn target(address: SocketAddr, probe: Probe, http2: bool) -> Target {
    let endpoint = endpoint("shop/cart:80", address);
    let check =
        HealthCheck { interval_ms: 2, fast_interval_ms: 1, timeout_ms: 2_000, ..HealthCheck::new(probe) };
    Target { endpoint, check, http2, opaque: false, host: "cart.shop".into() }
}

/// Answers every connection with `answer`, and remembers the last request.
async fn http1(answer: Rc<RefCell<&'static str>>) -> (SocketAddr, Rc<RefCell<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Rc::new(RefCell::new(String::new())));
    let last = heard.clone();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            *last.borrow_mut() = String::from_utf8_lossy(&request[..read]).into_owned();
            let answer = *answer.borrow();
            let _ = stream.write_all(answer.as_bytes()).await; // whoever left needs none
        }
    });
    (address, heard)
}

/// A health service that says `status` of the service "cart" and does not know any other.
async fn grpc(status: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| async move {
                assert_eq!(
                    (request.uri().path(), &request.headers()["te"]),
                    (grpc::PATH, &HeaderValue::from_static("trailers"))
                );
                let asked = request.into_body().collect().await?.to_bytes();
                let known = asked == grpc::question("cart");
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(if known { "0" } else { "5" }));
                let body = if known { Bytes::from(vec![0, 0, 0, 0, 2, 8, status]) } else { Bytes::new() };
                let body = Full::new(body).with_trailers(async { Some(Ok(trailers)) });
                Ok::<_, hyper::Error>(Response::new(body))
            });
            let executor = crate::http::gather::gather;
            let (io, executor) = executor(stream.into());
            let connection = hyper::server::conn::http2::Builder::new(executor.clone())
                .serve_connection(TokioIo::new(io), service);
            tokio::task::spawn_local(executor.wrap(connection));
        }
    });
    address
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waited).await.is_ok(), "not in time: {what}");
}

fn page(path: &str) -> Probe {
    Probe::Http { path: path.into(), host: None }
}

#[tokio::test]
async fn a_page_is_well_up_to_399() {
    LocalSet::new()
        .run_until(async {
            let answer = Rc::new(RefCell::new("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
            let (address, heard) = http1(answer.clone()).await;
            let target = target(address, page("/ready?deep=1"), false);
            assert!(probe(&target, &Identity::default()).await.is_ok());
            let request = heard.borrow().clone();
            assert!(request.starts_with("GET /ready?deep=1 HTTP/1.1\r\n"), "{request}");
            assert!(
                request.contains("host: cart.shop\r\n") && request.contains("outrigger-health-check"),
                "{request}"
            );
            for (said, expected) in [
                ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", None),
                ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Some("it answered 404 Not Found")),
                (
                    "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
                    Some("it answered 503 Service Unavailable"),
                ),
                ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n", None),
                ("SSH-2.0-OpenSSH\r\n", Some("no answer: ")),
            ] {
                *answer.borrow_mut() = said;
                let found = probe(&target, &Identity::default()).await.err().map(|unwell| unwell.to_string());
                assert_eq!(found.is_some(), expected.is_some(), "{said}: {found:?}");
                assert!(found.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{said}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_health_service_is_well_while_it_serves() {
    LocalSet::new()
        .run_until(async {
            for (status, service, expected) in [
                (1, "cart", None),
                (2, "cart", Some("it is not serving (status 2)")),
                (1, "other", Some("it answered grpc-status \"5\"")),
            ] {
                let target = target(grpc(status).await, Probe::Grpc { service: service.into() }, true);
                let found = probe(&target, &Identity::default()).await.err().map(|unwell| unwell.to_string());
                assert_eq!(found.as_deref(), expected);
            }
        })
        .await;
}

#[tokio::test]
async fn a_port_is_well_while_it_is_open_and_a_deaf_server_is_not() {
    LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            assert!(probe(&target(address, Probe::Tcp, false), &Identity::default()).await.is_ok());
            let mut deaf = target(address, page("/"), false);
            deaf.check.timeout_ms = 20;
            assert_eq!(
                probe(&deaf, &Identity::default()).await.unwrap_err().to_string(),
                "no answer in 20 ms"
            );
            drop(listener);
            assert!(matches!(
                probe(&target(address, Probe::Tcp, false), &Identity::default()).await,
                Err(Unwell::Connect(_))
            ));
        })
        .await;
}

#[tokio::test]
async fn rounds_ask_those_that_the_plan_has_and_tell_the_balancer() {
    LocalSet::new()
        .run_until(async {
            let well = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            let answer = Rc::new(RefCell::new(well));
            let (address, _) = http1(answer.clone()).await;
            let Target { endpoint, check, .. } = target(address, page("/"), false);
            let standing = || endpoint.standing();
            let cluster = Arc::new(cluster_of(&endpoint, Some(check)));
            let results = Rc::new(Results::default());
            let mut rounds = Rounds {
                identity: Default::default(),
                watched: HashMap::new(),
                results: results.clone(),
                turns: Rc::default(),
            };
            rounds.make([&cluster].into_iter());
            let count = |nth: usize| results.counts()[nth].1;
            eventually("a few probes succeed", || count(0) > 3).await;
            assert!(standing().is_available());

            *answer.borrow_mut() = "HTTP/1.1 500 Down\r\ncontent-length: 0\r\n\r\n";
            eventually("it leaves traffic", || standing().check == Check::Failing).await;
            assert!(count(1) >= 3, "after three failures: {:?}", results.counts());
            let reason = results.reason(endpoint.key());
            assert_eq!(reason.as_deref(), Some("it answered 500 Internal Server Error"));
            *answer.borrow_mut() = well;
            eventually("it comes back", || standing().is_available()).await;

            // As a worker does after failures.
            let now_ns = clock::now_ns();
            while standing().phase == Phase::In && standing().check == Check::Well {
                let failed = crate::cluster::endpoint::Outcome::Failure;
                crate::cluster::endpoint::InFlight::start(endpoint.clone()).finish(failed, 0, now_ns);
            }
            eventually("a success brings it back at once", || standing().phase == Phase::In).await;

            *answer.borrow_mut() = "HTTP/1.1 500 Down\r\ncontent-length: 0\r\n\r\n";
            eventually("it leaves traffic again", || standing().check == Check::Failing).await;
            let unchecked = Arc::new(cluster_of(&endpoint, None));
            rounds.make([&unchecked].into_iter());
            assert!(
                standing().is_available() && results.reason(endpoint.key()).is_none(),
                "nobody asks any more"
            );
            let probes: u64 = results.counts().iter().map(|(_, count)| count).sum();
            for _ in 0..100 {
                yield_now().await;
            }
            assert!(results.counts().iter().map(|(_, count)| count).sum::<u64>() <= probes + 1);
        })
        .await;
}

/// Endpoints that take a connection and never answer: each probe of them holds its place for the whole of this test.
#[tokio::test]
async fn endpoints_that_hang_do_not_hold_up_the_checks_of_another_cluster() {
    LocalSet::new()
        .run_until(async {
            let hung = TcpListener::bind("0.0.0.0:0").await.unwrap();
            let port = hung.local_addr().unwrap().port();
            let well = Rc::new(RefCell::new("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
            let (address, _) = http1(well).await;
            let target = target(address, page("/"), false);
            let well = Arc::new(cluster_of(&target.endpoint, Some(target.check)));
            let hung = |timeout_ms| -> Vec<_> {
                let check = HealthCheck { timeout_ms, fast_interval_ms: 1, ..HealthCheck::new(page("/")) };
                let endpoint = |last| endpoint("shop/hung:80", SocketAddr::from(([127, 0, 1, last], port)));
                (1..=150).map(|last| Arc::new(cluster_of(&endpoint(last), Some(check.clone())))).collect()
            };
            let patient = hung(600_000);
            let results = Rc::new(Results::default());
            let mut rounds = Rounds {
                identity: Default::default(),
                watched: HashMap::new(),
                results: results.clone(),
                turns: Rc::default(),
            };
            rounds.make(patient.iter());
            sleep(Duration::from_millis(50)).await;
            rounds.make(patient.iter().chain([&well]));
            eventually("it is asked as if it were alone", || results.counts()[0].1 >= 20).await;
            // Those that wait for their turn are late once they have it.
            rounds.make(hung(20).iter());
            eventually("some have begun late", || results.delayed() > 0).await;
        })
        .await;
}

fn cluster_of(endpoint: &Arc<Endpoint>, check: Option<HealthCheck>) -> Cluster {
    use outrigger_snapshot::policy::{Backend, Protocol};
    let mut backend = Backend::defaults_for(Protocol::Http);
    backend.health_check = check;
    // One of one may go here.
    backend.ejection.max_percent = 100;
    let health = endpoint.cluster_health().clone();
    let breaker = Arc::new(crate::cluster::breaker::ClusterBreaker::new(backend.breaker, health.clone()));
    let load = Arc::new(crate::cluster::ClusterLoad { health: health.clone(), ..Default::default() });
    let cluster = Cluster::new("shop/cart:80".into(), Protocol::Http, &backend, 1, load, breaker);
    health.rule(cluster.rules);
    let entry = Entry { endpoint: endpoint.clone(), weight: 1, zone: None };
    cluster.endpoints.store(Arc::new(EndpointSet::new(vec![entry], &Balance::PeakEwma)));
    cluster
}
