//! What protects a workload and what a rule holds against its requests, from the snapshot's types to the answer.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use outrigger_proxy::clock;
use outrigger_proxy::crew::places::ConnectionPlaces;
use outrigger_proxy::http::body::Body;
use outrigger_proxy::http::normalize::normalize_request;
use outrigger_proxy::passage::{Activity, Record};
use outrigger_proxy::plan::{App, Local, Plan, Version as PlanVersion};
use outrigger_proxy::registry::Registry;
use outrigger_proxy::stack::{Call, answer, stack};
use outrigger_proxy::telemetry::metrics::Direction;
use outrigger_proxy::termination::Client;
use outrigger_proxy::worker::{CurrentPlan, DownstreamLimits, Shared, Worker};
use outrigger_snapshot::facts::{Cluster, Facts};
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{
    Abort, Access, Authorization, Backend, Delay, Fault, Filter, HealthCheck, Inbound, InboundTls, Mtls,
    PathMatch, Policy, Port, Probe, Protocol, RateKey, RateLimit, RouteMatch, Rule, SCHEMA, Service, Shed,
    Termination, WeightedBackend,
};
use tokio::task::LocalSet;

#[path = "inbound/armed.rs"]
mod armed;
#[path = "inbound/told.rs"]
mod told;

/// A proxy beside `cart` without sockets. Nobody listens at the workload's port: what is let through gets a 503.
struct Rig {
    /// Of `cart`, for those that it calls.
    clusters: BTreeMap<ClusterName, Cluster>,
    plan: CurrentPlan,
    worker: Rc<Worker>,
    registry: Registry,
}

fn policy(inbound: Option<Inbound>, filters: Vec<Filter>) -> Policy {
    let backend =
        WeightedBackend { service: "cart".parse().unwrap(), port: 80, weight: 1, filters: Vec::new() };
    let everything = RouteMatch {
        path: PathMatch::Prefix("/".into()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    };
    let rule = Rule {
        name: "default/cart#0".into(),
        grpc: false,
        matches: vec![everything],
        filters,
        request_timeout_ms: None,
        try_timeout_ms: None,
        retry: None,
        backends: vec![backend],
    };
    let port = Port {
        name: "http".into(),
        port: 80,
        target_port: 1,
        protocol: Protocol::Http,
        rules: vec![rule],
        connections: Vec::new(),
        inbound,
        proxy_protocol: None,
        backend: Backend::defaults_for(Protocol::Http),
    };
    let service = Service { mtls: None, hosts: Vec::new(), ports: vec![port] };
    let services = BTreeMap::from([("cart".parse().unwrap(), service)]);
    Policy { schema: SCHEMA, features: BTreeSet::new(), services, gateway: None }
}

impl Rig {
    fn new(policy: &Policy) -> Self {
        Self::among(BTreeMap::new(), policy)
    }

    fn among(clusters: BTreeMap<ClusterName, Cluster>, policy: &Policy) -> Self {
        let limits = DownstreamLimits {
            idle_ns: u64::MAX / 2,
            head_ns: u64::MAX / 2,
            age_ns: u64::MAX / 2,
            detect_ns: u64::MAX / 2,
            streams: 1,
        };
        let plan: CurrentPlan = Arc::new(ArcSwapOption::empty());
        let worker = Worker::new(
            0,
            Shared {
                identity: Default::default(),
                proxies: Default::default(),
                trusted: Default::default(),
                traces: None,
                access_log: None,
                plan: plan.clone(),
                lineages: Default::default(),
                memory: Default::default(),
                places: ConnectionPlaces::new(1, None),
                limits,
            },
            Default::default(),
            5,
        );
        tokio::task::spawn_local(worker.sweep.clone().run(worker.stats.clone()));
        let mut rig = Self { clusters, plan, worker, registry: Registry::new(1) };
        rig.apply(policy);
        rig
    }

    fn apply(&mut self, policy: &Policy) {
        policy.check().unwrap();
        let facts = Facts {
            trust: None,
            authorities: Default::default(),
            schema: SCHEMA,
            features: BTreeSet::new(),
            clusters: self.clusters.clone(),
        };
        let app = App::At { host: [127, 0, 0, 1].into(), port: None };
        let local = Local {
            identity: policy.services.values().any(|service| service.mtls.is_some()),
            transparent: false,
            detail: Default::default(),
            service: "cart".parse().unwrap(),
            node: "cart-1".into(),
            zone: None,
            app: Some(app),
        };
        let resolved = BTreeMap::new();
        let version = PlanVersion::default();
        let plan = Plan::build(policy, &facts, &local, &resolved, &mut self.registry, version).unwrap();
        self.plan.store(Some(Arc::new(plan)));
        self.registry.sweep();
    }

    async fn ask(&self, direction: Direction, user: &'static str, grpc: bool) -> Answer {
        let mut request = Request::new(());
        let headers = request.headers_mut();
        headers.insert("x-user", HeaderValue::from_static(user));
        if grpc {
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        }
        self.send(direction, request).await
    }

    async fn send(&self, direction: Direction, request: Request<()>) -> Answer {
        self.send_for(None, direction, request).await
    }

    /// The same, over a connection that is for a port.
    async fn send_for(&self, port: Option<u16>, direction: Direction, request: Request<()>) -> Answer {
        self.send_of(None, port, direction, request).await
    }

    /// The same, of a client outside the mesh, if it is one.
    async fn send_of(
        &self,
        client: Option<Rc<Client>>,
        port: Option<u16>,
        direction: Direction,
        mut request: Request<()>,
    ) -> Answer {
        let started_ns = clock::now_ns();
        request.headers_mut().entry("host").or_insert(HeaderValue::from_static("cart"));
        let call = Call {
            addressed: None,
            caller: None,
            client,
            edge: None,
            request: normalize_request(request.into_parts().0),
            body: Body::Empty,
            direction,
            port,
            peer: HeaderValue::from_static("127.0.0.1"),
            version: Version::HTTP_11,
            started_ns,
        };
        let activity = Rc::new(Activity::new(started_ns));
        let record = Record::start(self.worker.clone(), activity, direction, started_ns);
        let stack = stack(self.worker.clone());
        let (reply, _) = answer(&self.worker, &stack, call, record).await;
        let field = |name: &'static str| {
            let value = reply.head.header(&HeaderName::from_static(name));
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        Answer {
            status: reply.head.status().as_u16(),
            reason: field("outrigger-reason"),
            grpc_status: field("grpc-status"),
            retry_after: field("retry-after"),
            policy: field("ratelimit-policy"),
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    reason: String,
    grpc_status: String,
    retry_after: String,
    policy: String,
}

fn limited(requests: u32) -> Inbound {
    let key = vec![RateKey::Header("x-user".into())];
    let limit = RateLimit { name: "calls".into(), requests, period_ms: 60_000, burst: 1, key, global: false };
    Inbound { rate_limits: vec![limit], ..Inbound::default() }
}

#[tokio::test]
async fn a_rate_limit_holds_across_plans_and_says_so_in_the_callers_protocol() {
    let test = async {
        let policy_of = |requests| policy(Some(limited(requests)), Vec::new());
        let mut rig = Rig::new(&policy_of(2));
        let first = rig.ask(Direction::Inbound, "ann", false).await;
        assert_eq!(first.reason, "connect_failed", "it went to the workload, which is not there");
        let second = rig.ask(Direction::Inbound, "ann", false).await;
        assert_eq!((second.status, &*second.reason), (429, "rate_limited"));
        assert_eq!((&*second.retry_after, &*second.policy), ("30", "\"calls\";q=2;w=60"));
        assert_eq!(rig.ask(Direction::Inbound, "bob", false).await.reason, "connect_failed");
        assert_eq!(rig.ask(Direction::Inbound, "bob", true).await.grpc_status, "8");
        rig.apply(&policy_of(2));
        assert_eq!(rig.ask(Direction::Inbound, "ann", false).await.status, 429, "a new plan resets nothing");
        rig.apply(&policy_of(3));
        assert_eq!(rig.ask(Direction::Inbound, "ann", false).await.status, 503, "other settings begin anew");
    };
    LocalSet::new().run_until(test).await;
}

/// Whoever asks for a port that carries no requests does not get one that does.
#[tokio::test]
async fn requests_for_a_port_of_connections_go_nowhere() {
    let test = async {
        let mut policy = policy(None, Vec::new());
        let ports = &mut policy.services.get_mut(&"cart".parse().unwrap()).unwrap().ports;
        let (name, protocol) = ("sql".into(), Protocol::Tcp);
        let other = Port { name, port: 81, protocol, rules: Vec::new(), ..ports[0].clone() };
        ports.push(other);
        let rig = Rig::new(&policy);
        for (port, reason) in [(Some(81), "no_port"), (Some(80), "connect_failed"), (None, "connect_failed")]
        {
            let answer = rig.send_for(port, Direction::Inbound, Request::new(())).await;
            assert_eq!(answer.reason, reason, "{port:?}");
        }
    };
    LocalSet::new().run_until(test).await;
}

/// An `HTTPRoute` and a `GRPCRoute` may have the same name.
#[tokio::test]
async fn routes_of_two_kinds_and_one_name_do_not_share_a_limit() {
    let test = async {
        let limit = limited(1).rate_limits[0].clone();
        let mut policy = policy(None, vec![Filter::RateLimit(limit.clone())]);
        let ports = &mut policy.services.get_mut(&"cart".parse().unwrap()).unwrap().ports;
        let mut rule = Rule { grpc: true, ..ports[0].rules[0].clone() };
        rule.backends[0].filters = vec![Filter::RateLimit(limit)];
        let (name, protocol) = ("grpc".into(), Protocol::Grpc);
        let other = Port { name, port: 90, protocol, rules: vec![rule], ..ports[0].clone() };
        ports.push(other);
        let rig = Rig::new(&policy);
        let ask = async |host: &str| {
            let request = Request::builder().header("host", host).body(()).unwrap();
            rig.send(Direction::Outbound, request).await.reason
        };
        for host in ["cart", "cart:90"] {
            assert_eq!(ask(host).await, "no_endpoint", "{host}: the first one passes");
            assert_eq!(ask(host).await, "rate_limited", "{host}");
        }
        let scopes: BTreeSet<String> =
            rig.registry.rate_limits.all().iter().map(|limiter| limiter.scope().to_owned()).collect();
        let of = ["GRPCRoute default/cart#0", "GRPCRoute default/cart#0 default/cart:80", "default/cart#0"];
        assert_eq!(scopes, of.map(str::to_owned).into());
    };
    LocalSet::new().run_until(test).await;
}

/// A rate limit that refuses health checks makes every caller take a busy workload for dead.
#[tokio::test]
async fn a_rate_limit_of_a_port_lets_its_health_checks_pass_and_nothing_like_them() {
    const HEALTH: &str = "/grpc.health.v1.Health/Check";
    let test = async {
        let none = RateLimit { key: Vec::new(), ..limited(1).rate_limits[0].clone() };
        let mut policy = policy(Some(Inbound { rate_limits: vec![none], ..limited(1) }), Vec::new());
        let port = &mut policy.services.get_mut(&"cart".parse().unwrap()).unwrap().ports[0];
        let probe = Probe::Http { path: "/ok?deep".into(), host: None };
        port.backend.health_check = Some(HealthCheck::new(probe));
        let mut rig = Rig::new(&policy);
        assert_eq!(rig.ask(Direction::Inbound, "ann", false).await.reason, "connect_failed");
        let ask = async |rig: &Rig, method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            rig.send(Direction::Inbound, request).await.status
        };
        for (method, path, status) in [
            (Method::GET, "/ok?deep", 503),
            (Method::GET, "/ok?deep", 503),
            (Method::GET, "/ok", 429),
            (Method::GET, "/ok?deep=1", 429),
            (Method::GET, "/ok/more?deep", 429),
            (Method::POST, "/ok?deep", 429),
            (Method::POST, HEALTH, 429),
        ] {
            assert_eq!(ask(&rig, method, path).await, status, "{path}");
        }

        let port = &mut policy.services.get_mut(&"cart".parse().unwrap()).unwrap().ports[0];
        (port.protocol, port.backend.health_check) = (Protocol::Grpc, None);
        rig.apply(&policy);
        for (method, path, status) in [
            (Method::POST, HEALTH, 503),
            (Method::GET, HEALTH, 429),
            (Method::POST, "/grpc.health.v1.Health/Watch", 429),
            (Method::GET, "/ok?deep", 429),
        ] {
            assert_eq!(ask(&rig, method, path).await, status, "{path}");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_path_of_the_health_check_is_never_shed() {
    let test = async {
        let shed = Shed { tolerance_percent: None, exempt: vec!["/listed".into()] };
        let mut policy = policy(Some(Inbound { shed: Some(shed), ..Inbound::default() }), Vec::new());
        let port = &mut policy.services.get_mut(&"cart".parse().unwrap()).unwrap().ports[0];
        let probe = Probe::Http { path: "/ok?deep".into(), host: None };
        port.backend.health_check = Some(HealthCheck::new(probe));
        let rig = Rig::new(&policy);
        let plan = rig.plan.load_full().unwrap();
        let (_, rule) = &plan.inbound[0];
        for (path, exempt) in [
            ("/ok", true),
            ("/ok?deep", true),
            ("/listed", true),
            ("/grpc.health.v1.Health/Check", true),
            ("/", false),
            ("/okay", false),
        ] {
            let headers = HeaderMap::new();
            let head = RequestHead::new(Method::GET, "cart".parse().unwrap(), path.parse().unwrap(), headers);
            assert_eq!(rule.is_exempt(&head), exempt, "{path}");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn faults_are_injected_where_the_rule_says() {
    let test = async {
        let abort = Abort { percent: 100, status: 418, grpc_status: 9 };
        let delay = Delay { percent: 100, delay_ms: 700 };
        let fault = |delay, abort| vec![Filter::Fault(Fault { delay, abort })];
        let mut rig = Rig::new(&policy(None, fault(None, Some(abort))));
        let answer = rig.ask(Direction::Outbound, "ann", false).await;
        assert_eq!((answer.status, &*answer.reason), (418, "fault_injected"));
        assert_eq!(rig.ask(Direction::Outbound, "ann", true).await.grpc_status, "9");
        assert_eq!(
            rig.ask(Direction::Inbound, "ann", false).await.reason,
            "connect_failed",
            "it is a route's"
        );

        rig.apply(&policy(None, fault(Some(delay), None)));
        let begun = tokio::time::Instant::now();
        assert_eq!(rig.ask(Direction::Outbound, "ann", false).await.reason, "no_endpoint");
        assert_eq!(begun.elapsed(), Duration::from_millis(700));
        assert_eq!(rig.worker.stats.faults_delayed.value(), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn shedding_is_on_unless_it_is_off_and_goes_on_across_plans() {
    let test = async {
        let off = Inbound { shed: None, ..Inbound::default() };
        let wide = Shed { tolerance_percent: Some(300), exempt: Vec::new() };
        let wide = Inbound { shed: Some(wide), ..Inbound::default() };
        let mut rig = Rig::new(&policy(None, Vec::new()));
        let first = rig.registry.all_overloads();
        assert_eq!(first.len(), 1);
        rig.ask(Direction::Inbound, "ann", false).await;
        assert_eq!((first[0].1.in_flight(), first[0].1.limit()), (0, 1_024));
        rig.apply(&policy(Some(Inbound::default()), Vec::new()));
        let second = rig.registry.all_overloads();
        assert!(Arc::ptr_eq(&first[0].1, &second[0].1), "the same settings keep what was measured");
        drop((first, second));
        rig.apply(&policy(Some(wide), Vec::new()));
        assert_eq!(rig.registry.all_overloads().len(), 1);
        rig.apply(&policy(Some(off), Vec::new()));
        // Until the worker looks, it holds the plan before.
        rig.ask(Direction::Inbound, "ann", false).await;
        rig.registry.sweep();
        assert!(rig.registry.all_overloads().is_empty());
    };
    LocalSet::new().run_until(test).await;
}

fn ending(cleartext: bool) -> InboundTls {
    let certificates = vec!["cart".parse().unwrap()];
    InboundTls { termination: Termination { certificates, only_tls13: false, clients: None }, cleartext }
}

fn asking(mtls: Option<Mtls>, tls: Option<InboundTls>) -> Policy {
    let mut policy = policy(Some(Inbound { tls, ..Inbound::default() }), Vec::new());
    let cart = policy.services.get_mut(&"cart".parse().unwrap()).unwrap();
    cart.mtls = mtls;
    let probe = Probe::Http { path: "/health".into(), host: None };
    cart.ports[0].backend.health_check = Some(HealthCheck::new(probe));
    policy
}

/// A request of a client outside the mesh that was let in on the terms of a port.
fn client(port: u16) -> Option<Rc<Client>> {
    Some(Rc::new(Client { port, certificate: None }))
}

#[tokio::test]
async fn who_comes_in_the_clear_is_counted_and_refused_where_tls_is_wanted_and_who_comes_inside_tls_is_not() {
    let test = async {
        let (permissive, strict) = (Some(Mtls::Permissive), Some(Mtls::Strict));
        let (refused, allowed) = (Some(ending(false)), Some(ending(true)));
        for (mtls, tls, inside, path, reason, counted) in [
            (None, None, false, "/", "connect_failed", 0),
            (permissive, None, false, "/", "connect_failed", 1),
            (permissive, None, true, "/", "connect_failed", 0),
            (strict, None, false, "/", "identity_required", 1),
            // It was let in by a plan before.
            (strict, None, true, "/", "identity_required", 0),
            (None, refused.clone(), false, "/", "tls_required", 1),
            (None, refused.clone(), false, "/health", "connect_failed", 1),
            (None, refused.clone(), false, "/health?deep", "tls_required", 1),
            (None, refused.clone(), true, "/", "connect_failed", 0),
            (permissive, refused.clone(), false, "/", "tls_required", 1),
            (permissive, refused, true, "/", "connect_failed", 0),
            (None, allowed.clone(), false, "/", "connect_failed", 1),
            (None, allowed, true, "/", "connect_failed", 0),
        ] {
            let what = format!("{mtls:?} {tls:?} {inside} {path}");
            let rig = Rig::new(&asking(mtls, tls));
            let request = Request::builder().uri(path).body(()).unwrap();
            let client = if inside { client(80) } else { None };
            let answer = rig.send_of(client, None, Direction::Inbound, request).await;
            assert_eq!(answer.reason, reason, "{what}");
            assert_eq!(rig.worker.stats.plaintext_requests.value(), counted, "{what}");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_client_is_kept_to_the_port_on_whose_terms_it_was_let_in() {
    let test = async {
        let mut policy = asking(None, Some(ending(true)));
        let ports = &mut policy.services.get_mut(&"cart".parse().unwrap()).unwrap().ports;
        let authorization = Authorization { default: Access::Deny, rules: Vec::new(), dry_run: false };
        let inbound = Inbound { authorization: Some(authorization), ..Inbound::default() };
        ports.push(Port { name: "closed".into(), port: 81, inbound: Some(inbound), ..ports[0].clone() });
        let rig = Rig::new(&policy);
        let ask = async |client: Option<Rc<Client>>, host: &'static str| {
            let request = Request::builder().header("host", host).body(()).unwrap();
            rig.send_of(client, None, Direction::Inbound, request).await.reason
        };
        assert_eq!(ask(None, "cart:81").await, "access_denied");
        assert_eq!(ask(client(81), "cart:80").await, "access_denied");
        assert_eq!(ask(client(80), "cart:81").await, "connect_failed");
        // The first port has terms of its own, which it has not met.
        assert_eq!(ask(client(82), "cart:80").await, "no_port");
    };
    LocalSet::new().run_until(test).await;
}
