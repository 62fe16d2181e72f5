//! The admin endpoints over real sockets.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_proxy::admin::{
    AdminState, CONNECTIONS_MAX, CertsView, ClusterView, DnsView, EndpointView, Part, Phase, ServerInfo,
    Surface, serve,
};
use outrigger_proxy::crew::ListenerView;
use outrigger_proxy::failure::Failure;
use outrigger_proxy::logging::Logging;
use outrigger_proxy::source::{Content, Running, View};
use outrigger_proxy::state_dir::Taken;
use outrigger_proxy::tap::{Asked, Crowded, Desk, WATCHERS_MAX, Watch};
use outrigger_proxy::telemetry::exposition::Exposition;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Proxy {
    phase: Cell<Phase>,
    view: RefCell<View>,
    unproved: RefCell<Option<String>>,
    drains: Cell<u32>,
    shutdowns: Cell<u32>,
    logging: Logging,
    desk: Rc<Desk>,
}

impl AdminState for Proxy {
    fn phase(&self) -> Phase {
        self.phase.get()
    }

    fn source(&self) -> View {
        self.view.borrow().clone()
    }

    fn trouble(&self) -> Option<String> {
        self.unproved.borrow().clone()
    }

    fn server_info(&self) -> ServerInfo {
        ServerInfo {
            version: "1.2.3",
            service: "shop/cart".to_owned(),
            node: "cart-7".to_owned(),
            zone: None,
            process: 7,
            started_unix_ms: 1_000,
            workers: 1,
            listeners: vec![("--outbound", "127.0.0.1:15001".to_owned())],
            store: "/mesh".to_owned(),
            state_dir: "/state".to_owned(),
        }
    }

    fn clusters(&self) -> Vec<ClusterView> {
        let endpoint = EndpointView {
            address: "127.0.0.1:9001".to_owned(),
            weight: 2,
            own: Some(true),
            zone: Some("a".to_owned()),
            in_flight: 3,
            requests: 9,
            failures: 2,
            health: "ejected for 9 s more: failures in a row".to_owned(),
            cost_ms: Some(1.25),
        };
        let dns =
            DnsView { name: "cart.internal".to_owned(), state: "stale".to_owned(), age_ms: Some(9_000) };
        vec![ClusterView {
            name: "shop/cart:80".to_owned(),
            protocol: "HTTP",
            balance: "PeakEwma".to_owned(),
            in_flight: 3,
            breaker: "half_open",
            dns: Some(dns),
            caller: Some("seat 7 of 200".to_owned()),
            endpoints: vec![endpoint],
        }]
    }

    fn log_filter(&self) -> String {
        self.logging.filter()
    }

    fn set_log_filter(&self, filter: &str) -> Result<(), String> {
        self.logging.set(filter)
    }

    fn listeners(&self) -> Vec<ListenerView> {
        let (name, address) = ("outbound", "127.0.0.1:15001".to_owned());
        let (connections, accepted) = (Some(3), Some(9));
        let direction = Some("outbound");
        vec![ListenerView { name, address, direction, state: "listening", connections, accepted }]
    }

    fn certs(&self) -> CertsView {
        CertsView { identity: None, trust_domain: None, certificates: Vec::new(), shown: Vec::new() }
    }

    fn failures(&self) -> Vec<Arc<Failure>> {
        Vec::new()
    }

    fn metrics(&self) -> Vec<Part<'_>> {
        let one = |text: &'static str, count: u64| {
            let labels = [("part", text)];
            let write = move |exposition: &mut Exposition| {
                exposition.counter("outrigger_test_total", "A test.").sample(&labels, count);
            };
            Box::new(write) as Part<'_>
        };
        vec![one("first", 5), one("second", 6)]
    }

    fn watch(&self, asked: Asked) -> Result<Watch, Crowded> {
        self.desk.watch(asked)
    }

    fn drain(&self) {
        self.drains.set(self.drains.get() + 1);
    }

    fn shutdown(&self) {
        self.shutdowns.set(self.shutdowns.get() + 1);
    }

    fn now_ms(&self) -> u64 {
        61_000
    }
}

fn running() -> Running {
    let taken = Taken {
        mesh: "m".to_owned(),
        epoch: 1,
        n: 7,
        revision: 5,
        compiler: 1,
        time_ms: 60_000,
        lane: "all".to_owned(),
    };
    Running {
        taken,
        policy: Content::new(b"{\"services\":{}}".to_vec()),
        facts: Content::new(b"{\"clusters\":{}}".to_vec()),
        since_ms: 60_500,
        from_state: true,
    }
}

/// Runs `test` with a proxy whose listener is at the address.
async fn with(surface: Surface, test: impl AsyncFnOnce(SocketAddr, Rc<Proxy>)) {
    let proxy = Rc::new(Proxy {
        phase: Cell::new(Phase::Serving),
        view: RefCell::new(View { running: Some(running()), ..View::default() }),
        unproved: RefCell::default(),
        drains: Cell::new(0),
        shutdowns: Cell::new(0),
        logging: Logging::new("info", |_| true),
        desk: Desk::new(Vec::new()),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::select! {
        () = serve(listener, surface, proxy.clone()) => unreachable!("it serves for ever"),
        () = test(address, proxy.clone()) => {}
    }
}

async fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let answer = send(address, &request).await;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

#[tokio::test]
async fn readiness_says_why_not() {
    with(Surface::Metrics, async |address, proxy| {
        for path in ["/ready", "/readyz", "/healthz/ready"] {
            assert_eq!(ask(address, "GET", path).await.0, 200, "{path}");
        }
        proxy.view.borrow_mut().running = None;
        let (status, body) = ask(address, "GET", "/ready").await;
        assert_eq!((status, body.contains("not read yet")), (503, true), "{body}");
        proxy.view.borrow_mut().trouble = Some("the store is gone".to_owned());
        assert!(ask(address, "GET", "/ready").await.1.contains("the store is gone"));
        proxy.view.borrow_mut().scope_missing = true;
        assert!(ask(address, "GET", "/ready").await.1.contains("--service"));
        proxy.view.borrow_mut().running = Some(running());
        *proxy.unproved.borrow_mut() = Some("it has no certificate".to_owned());
        let (status, body) = ask(address, "GET", "/ready").await;
        assert_eq!((status, body.as_str()), (503, "not ready: it has no certificate\n"));
        assert!(ask(address, "GET", "/metrics").await.1.contains("outrigger_ready 0\n"));
        proxy.unproved.take();
        for phase in [Phase::Starting, Phase::Draining] {
            proxy.phase.set(phase);
            assert_eq!(ask(address, "GET", "/ready").await.0, 503);
            assert_eq!(ask(address, "GET", "/live").await.0, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_logged_changes_at_run_time() {
    with(Surface::Admin, async |address, _| {
        assert_eq!(ask(address, "GET", "/logging").await, (200, "info\n".to_owned()));
        for (level, status) in
            [("debug", 200), ("warn,hyper=trace", 200), ("", 400), ("cart%3Dlouder", 400), ("inof", 400)]
        {
            let path = format!("/logging?level={level}");
            assert_eq!(ask(address, "POST", &path).await.0, status, "{level}");
        }
        assert_eq!(ask(address, "GET", "/logging").await, (200, "warn,hyper=trace\n".to_owned()));
        assert_eq!(ask(address, "DELETE", "/logging").await.0, 405);
    })
    .await;
}

#[tokio::test]
async fn what_changes_something_has_to_be_posted() {
    with(Surface::Admin, async |address, proxy| {
        for path in ["/drain", "/shutdown"] {
            assert_eq!(ask(address, "GET", path).await.0, 405, "{path}");
        }
        assert_eq!((proxy.drains.get(), proxy.shutdowns.get()), (0, 0));
        assert_eq!(ask(address, "POST", "/drain").await.0, 202);
        assert_eq!((proxy.drains.get(), proxy.shutdowns.get()), (1, 0));
        assert_eq!(ask(address, "POST", "/shutdown").await.0, 202);
        assert_eq!((proxy.drains.get(), proxy.shutdowns.get()), (1, 1));
        assert_eq!(ask(address, "POST", "/ready").await.0, 405);
        assert_eq!(ask(address, "GET", "/nowhere").await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn a_web_page_cannot_reach_through_a_browser() {
    with(Surface::Admin, async |address, proxy| {
        let posted = format!(
            "POST /drain HTTP/1.1\r\nhost: {address}\r\norigin: http://evil\r\nconnection: close\r\n\r\n"
        );
        assert!(send(address, &posted).await.starts_with("HTTP/1.1 403 "));
        let rebound = "GET /config_dump HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
        assert!(send(address, rebound).await.starts_with("HTTP/1.1 403 "));
        let local = "GET /config_dump HTTP/1.1\r\nhost: localhost:15200\r\nconnection: close\r\n\r\n";
        assert!(send(address, local).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(proxy.drains.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_snapshot_is_dumped_as_it_was_published() {
    with(Surface::Admin, async |address, proxy| {
        let (status, body) = ask(address, "GET", "/config_dump").await;
        let dump: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert_eq!(dump["running"]["release"]["n"], 7);
        assert_eq!(dump["running"]["policy_digest"], running().policy.digest.to_string());
        assert!(dump["policy"]["services"].is_object() && dump["facts"]["clusters"].is_object(), "{dump}");
        let answer = send(
            address,
            &format!("HEAD /config_dump HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        proxy.view.borrow_mut().running = None;
        assert_eq!(ask(address, "GET", "/config_dump").await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn clusters_come_as_text_and_as_json() {
    with(Surface::Admin, async |address, _| {
        let text = ask(address, "GET", "/clusters").await.1;
        for part in [
            "shop/cart:80",
            "PeakEwma",
            "breaker half_open",
            "endpoints 1  own 1  seat 7 of 200  in flight 3",
            "127.0.0.1:9001  weight 2  in flight 3  cost 1.250 ms  own  zone a  ejected for 9 s more: failures in a row",
            "stale  age 9 s",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&ask(address, "GET", "/clusters?format=json").await.1).unwrap();
        assert_eq!(json[0]["endpoints"][0]["cost_ms"], 1.25);
        assert_eq!(ask(address, "GET", "/clusters?format=xml").await.0, 400);
        let info: serde_json::Value =
            serde_json::from_str(&ask(address, "GET", "/server_info").await.1).unwrap();
        assert_eq!((info["node"].as_str(), info["uptime_ms"].as_u64()), (Some("cart-7"), Some(60_000)));
    })
    .await;
}

#[tokio::test]
async fn the_metrics_listener_gives_nothing_else_away() {
    with(Surface::Metrics, async |address, proxy| {
        for path in ["/config_dump", "/clusters", "/server_info", "/drain", "/shutdown", "/"] {
            assert_eq!(ask(address, "GET", path).await.0, 404, "{path}");
            assert_eq!(ask(address, "POST", path).await.0, 404, "{path}");
        }
        assert_eq!((proxy.drains.get(), proxy.shutdowns.get()), (0, 0));
        let text = ask(address, "GET", "/metrics").await.1;
        for line in [
            "outrigger_build_info{version=\"1.2.3\"} 1",
            "outrigger_ready 1",
            "outrigger_snapshot_release 7",
            "outrigger_snapshot_age_seconds 1",
            "outrigger_snapshot_refusals_total{cause=\"untrusted\"} 0",
            "outrigger_test_total{part=\"first\"} 5",
            "outrigger_test_total{part=\"second\"} 6",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        }
    })
    .await;
}

/// A tenth of what an idle connection has for its head.
const IDLE_MAX: Duration = Duration::from_secs(3);

#[tokio::test]
async fn idle_and_broken_connections_do_not_shut_others_out_for_ever() {
    with(Surface::Metrics, async |address, _| {
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        // Silent, in the middle of a head, and after an answer.
        for _ in 0..2 * CONNECTIONS_MAX {
            let live = tokio::time::timeout(IDLE_MAX, ask(address, "GET", "/live"));
            assert_eq!(live.await.expect("whoever is idle gives way").0, 200);
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
            idle.push(stream);
        }
        for stream in &mut idle {
            // Some are gone.
            let _ = stream.write_all(b"nonsense\r\n\r\n").await;
        }
        assert_eq!(ask(address, "GET", "/live").await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn listeners_and_stats_come_as_people_and_as_programs_read_them() {
    with(Surface::Admin, async |address, _| {
        let text = ask(address, "GET", "/listeners").await.1;
        assert_eq!(text, "outbound  127.0.0.1:15001  outbound  listening  connections 3  accepted 9\n");
        let json = async |path: &str| {
            serde_json::from_str::<serde_json::Value>(&ask(address, "GET", path).await.1).unwrap()
        };
        assert_eq!(json("/listeners?format=json").await[0]["connections"], 3);
        let all = ask(address, "GET", "/stats").await.1;
        for line in ["outrigger_test_total{part=\"first\"}: 5", "outrigger_build_info{version=\"1.2.3\"}: 1"]
        {
            assert!(all.lines().any(|found| found == line), "no {line} in {all}");
        }
        assert_eq!(
            ask(address, "GET", "/stats?filter=%5Eoutrigger_te.t").await.1,
            "outrigger_test_total{part=\"first\"}: 5\noutrigger_test_total{part=\"second\"}: 6\n"
        );
        let stats = json("/stats?format=json&filter=first").await;
        let first = serde_json::json!([{"name": "outrigger_test_total{part=\"first\"}", "value": 5}]);
        assert_eq!(stats["stats"], first);
        let scraped = ask(address, "GET", "/stats?format=prometheus").await.1;
        assert!(scraped.contains("# TYPE outrigger_test_total counter\n"), "{scraped}");
        let long = format!("/stats?filter={}", "a".repeat(600));
        for path in
            ["/stats?filter=(", "/stats?filter=%5Cw%7B900%7D", "/stats?format=xml", "/stats?x=1", &long]
        {
            assert_eq!(ask(address, "GET", path).await.0, 400, "{path}");
        }
        assert_eq!(ask(address, "POST", "/stats").await.0, 405);
    })
    .await;
}

#[tokio::test]
async fn only_so_many_watch_and_who_goes_makes_room() {
    with(Surface::Admin, async |address, _| {
        assert_eq!(ask(address, "GET", "/debug/tap?rate=0").await.0, 400);
        let mut watching = Vec::new();
        for _ in 0..WATCHERS_MAX {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(format!("GET /debug/tap HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
            watching.push(stream);
        }
        assert_eq!(ask(address, "GET", "/debug/tap").await.0, 429);
        drop(watching);
        let again = async || {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(format!("GET /debug/tap HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            head == *b"HTTP/1.1 200"
        };
        while !again().await {}
    })
    .await;
}
