//! The connections that a cluster may have, and requests that wait for one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request};
use outrigger_integration_tests::client::{self, Answer, Body};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, eventually, within};
use tokio::task::JoinSet;

use crate::config::{all, backend_policy, service, service_of};

const DEADLINE: Duration = Duration::from_secs(60);
/// Requests one after the other, to more endpoints than there may be connections.
const ROUNDS: usize = 24;
/// Requests at once, to an application that takes so long for each.
const CROWD: u64 = 60;
const WORK: Duration = Duration::from_millis(200);
/// Connections for them.
const PLACES: u64 = 4;
/// What the work takes if no place is ever left empty.
const IDEAL: Duration = Duration::from_millis(CROWD / PLACES * WORK.as_millis() as u64);

struct Site {
    apps: Vec<App>,
    shop: Proxy,
    _mesh: Mesh,
}

impl Site {
    /// A service of so many endpoints, each in its turn, and a caller.
    async fn new(protocol: &str, endpoints: usize, workers: u32, policy: &str) -> Self {
        let mut apps = Vec::new();
        for _ in 0..endpoints {
            apps.push(App::start("cart").await);
        }
        let addresses: Vec<SocketAddr> = apps.iter().map(|app| app.addr).collect();
        let mesh = Mesh::new();
        let policy = backend_policy("cart", &format!("balance: {{policy: RoundRobin}}\n  {policy}"));
        mesh.publish(&all(&[service("shop", &[]), service_of("cart", protocol, &addresses), policy]));
        let shop = Proxy::start(&mesh, Sidecar::beside("shop").workers(workers)).await;
        shop.ready().await;
        Self { apps, shop, _mesh: mesh }
    }

    async fn fetch(&self, path: &str) -> Answer {
        within(DEADLINE, "an answer", client::fetch(self.shop.outbound, "cart", path))
            .await
            .expect("the sidecar answers")
    }

    async fn counts(&self) -> Metrics {
        Metrics::of(self.shop.metrics).await.expect("metrics are served")
    }

    fn requests(&self) -> u64 {
        self.apps.iter().map(App::requests).sum()
    }

    /// The reasons of what was answered to so many requests at once; of those that were well, none.
    async fn crowd(&self) -> Vec<String> {
        let mut requests = JoinSet::new();
        for _ in 0..CROWD {
            let path = format!("/slow/{}", WORK.as_millis());
            requests.spawn(client::send(self.shop.outbound, client::request(Method::GET, "cart", &path, "")));
        }
        let answers = within(DEADLINE, "all are answered", requests.join_all()).await;
        answers.into_iter().map(|answer| answer.expect("the sidecar answers").reason().to_owned()).collect()
    }
}

fn call(path: &str) -> Request<Body> {
    let mut request = client::request2(Method::POST, "cart", path, "");
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request
}

/// One by one, so that nothing is under way when the next one comes; the workers take turns with the connections of the client.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_given_up_for_those_who_find_no_place() {
    for (protocol, workers) in [("HTTP", 1), ("HTTP2", 1), ("HTTP", 3), ("HTTP2", 3)] {
        let site = Site::new(protocol, 4, workers, "limits: {connections: 2}").await;
        for round in 0..ROUNDS {
            let answer = site.fetch("/").await;
            assert_eq!((answer.status.as_u16(), answer.reason()), (200, ""), "{protocol} {workers} {round}");
        }
        assert_eq!(site.requests(), ROUNDS as u64);
        assert!(site.apps.iter().all(|app| app.requests() > 0), "each had its turn");
        assert!(site.counts().await.sum(&["outrigger_upstream_connections "]) <= 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_place_has_an_end() {
    for (protocol, status) in [("HTTP", 503), ("GRPC", 200)] {
        let site = Site::new(protocol, 2, 2, "limits: {connections: 1}\n  timeouts: {connect: 300ms}").await;
        let send = |path: &str| {
            let grpc = protocol == "GRPC";
            let request = if grpc { call(path) } else { client::request(Method::GET, "cart", path, "") };
            client::send(site.shop.outbound, request)
        };
        let hanging = tokio::spawn(send("/never"));
        eventually(DEADLINE, "one hangs", async || (site.requests() == 1).then_some(())).await;
        // To the other endpoint, or to the same one, whose connection is taken; over HTTP/2 that one is shared.
        let other = usize::from(site.apps[0].requests() == 1);
        let answer = loop {
            let answer = within(DEADLINE, "the wait ends", send("/")).await.expect("the sidecar answers");
            if answer.reason() != "" {
                break answer;
            }
        };
        assert_eq!((answer.status.as_u16(), answer.reason()), (status, "limit_pending"), "{protocol}");
        assert_eq!(site.apps[other].requests(), 0);
        let counts = site.counts().await;
        let refused = ["outrigger_limit_refused_total", "/cart:", "kind=\"pending_time\""];
        assert_eq!(counts.sum(&refused), 1, "{}", counts.text());
        let used = |kind| counts.sum(&["outrigger_limit_in_use{", "/cart:", &format!("kind=\"{kind}\"")]);
        assert_eq!((used("connections"), used("requests"), used("pending")), (1, 1, 0));
        hanging.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_place_says_nothing_of_an_endpoint() {
    let policy = format!("limits: {{connections: {PLACES}}}\n  timeouts: {{try: 500ms, connect: 1s}}");
    let site = Site::new("HTTP", PLACES as usize, 1, &policy).await;
    let reasons = site.crowd().await;
    let well = reasons.iter().filter(|reason| reason.is_empty()).count() as u64;
    assert!(reasons.iter().all(|reason| ["", "limit_pending"].contains(&&**reason)), "{reasons:?}");
    println!("{well} of {CROWD} in the second that the others waited");
    assert!(well > PLACES * 2, "{reasons:?}");
    assert_eq!(site.requests(), well, "nothing was sent twice");
    let counts = site.counts().await;
    assert_eq!(counts.sum(&["outrigger_endpoint_failures_total"]), 0);
    assert_eq!(counts.sum(&["outrigger_ejections_total"]), 0);
    assert_eq!(counts.sum(&["outrigger_limit_refused_total", "kind=\"pending_time\""]), CROWD - well);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_cluster_does_as_much_as_its_connections_can() {
    for workers in [1, 3] {
        let policy = format!("limits: {{connections: {PLACES}}}\n  timeouts: {{try: 500ms, connect: 30s}}");
        let site = Site::new("HTTP", PLACES as usize, workers, &policy).await;
        let start = Instant::now();
        let reasons = site.crowd().await;
        let took = start.elapsed();
        println!("{took:?} with {workers} workers; {IDEAL:?} is the least");
        assert!(reasons.iter().all(String::is_empty), "{reasons:?}");
        assert!(took < 2 * IDEAL, "{took:?}");
        assert_eq!(site.requests(), CROWD);
    }
}
