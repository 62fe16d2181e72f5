//! How the settings of a cluster decide on the endpoint, from the snapshot's types to the answer.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderName, HeaderValue, Request, Version};
use outrigger_proxy::clock;
use outrigger_proxy::cluster::Cluster;
use outrigger_proxy::cluster::endpoint::InFlight;
use outrigger_proxy::crew::places::ConnectionPlaces;
use outrigger_proxy::http::body::Body;
use outrigger_proxy::http::normalize::normalize_request;
use outrigger_proxy::passage::{Activity, Record};
use outrigger_proxy::plan::{App, Local, Plan, Version as PlanVersion};
use outrigger_proxy::registry::Registry;
use outrigger_proxy::report::{CALLED_FOR, Calls};
use outrigger_proxy::stack::{Call, answer, stack};
use outrigger_proxy::telemetry::exposition::Exposition;
use outrigger_proxy::telemetry::health::{clusters, write_health};
use outrigger_proxy::telemetry::metrics::Direction;
use outrigger_proxy::worker::{CurrentPlan, DownstreamLimits, Shared, Worker};
use outrigger_snapshot::facts::{self, Discovery, Facts, TlsMode};
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{
    Backend, Balance, HashKey, Limits, Policy, Port, Protocol, Retry, SCHEMA, Service, ShuffleShard, Subset,
    ZonePreference,
};
use tokio::task::LocalSet;

/// A proxy beside `web`, which runs in a and b and calls `cart`, which runs in a, b and c. Nobody listens anywhere.
struct Rig {
    plan: CurrentPlan,
    worker: Rc<Worker>,
    registry: Registry,
    zone: Option<&'static str>,
}

fn backend() -> Backend {
    let retry = Retry { attempts: 0, ..Retry::default() };
    Backend { retry, ..Backend::defaults_for(Protocol::Http) }
}

fn policy(cart: Backend) -> Policy {
    let service = |backend: Backend| Service {
        mtls: None,
        hosts: Vec::new(),
        ports: vec![Port {
            name: "http".into(),
            port: 80,
            target_port: 1,
            protocol: Protocol::Http,
            rules: Vec::new(),
            connections: Vec::new(),
            inbound: None,
            proxy_protocol: None,
            backend,
        }],
    };
    let services =
        [("cart".parse().unwrap(), service(cart.clone())), ("web".parse().unwrap(), service(cart))];
    Policy { schema: SCHEMA, features: BTreeSet::new(), services: services.into(), gateway: None }
}

fn facts() -> Facts {
    let cluster = |network: u8, zones: &[&str]| {
        let endpoint = |(nth, zone): (usize, &&str)| facts::Endpoint {
            address: SocketAddr::from(([127, 0, network, nth as u8 + 1], 1)),
            weight: 1,
            zone: Some((*zone).to_owned()),
            tls: TlsMode::None,
        };
        let endpoints = zones.iter().enumerate().map(endpoint).collect();
        facts::Cluster {
            discovery: Discovery::Static(endpoints),
            peers: 1,
            seats: Default::default(),
            tls: None,
        }
    };
    let clusters = [
        ("cart:80".parse().unwrap(), cluster(1, &["a", "a", "b", "b", "b", "b", "c", "c"])),
        ("web:80".parse().unwrap(), cluster(2, &["a", "b", "b"])),
    ];
    Facts {
        trust: None,
        authorities: Default::default(),
        schema: SCHEMA,
        features: BTreeSet::new(),
        clusters: clusters.into(),
    }
}

/// So many callers of so many endpoints in zone a, where all of `web` are.
fn facts_of(callers: u32, endpoints: u8) -> Facts {
    let mut facts = facts();
    for (name, cluster) in &mut facts.clusters {
        let Discovery::Static(listed) = &mut cluster.discovery else { continue };
        if name.service.name() == "cart" {
            let first = listed[0].clone();
            let nth = |nth| SocketAddr::from(([127, 0, 1, nth], 1));
            *listed = (1..=endpoints).map(|n| facts::Endpoint { address: nth(n), ..first.clone() }).collect();
            cluster.peers = callers;
        }
    }
    facts
}

impl Rig {
    fn new(zone: Option<&'static str>, cart: Backend) -> Self {
        let limits = DownstreamLimits {
            idle_ns: u64::MAX / 2,
            head_ns: u64::MAX / 2,
            age_ns: u64::MAX / 2,
            detect_ns: u64::MAX / 2,
            streams: 1,
        };
        let plan: CurrentPlan = Arc::new(ArcSwapOption::empty());
        let (lineages, memory) = Default::default();
        let shared = Shared {
            identity: Default::default(),
            proxies: Default::default(),
            plan: plan.clone(),
            lineages,
            memory,
            places: ConnectionPlaces::new(1, None),
            limits,
            trusted: Default::default(),
            traces: None,
            access_log: None,
        };
        let worker = Worker::new(0, shared, Default::default(), 5);
        tokio::task::spawn_local(worker.sweep.clone().run(worker.stats.clone()));
        let mut rig = Self { plan, worker, registry: Registry::new(1), zone };
        rig.apply(cart);
        rig
    }

    fn apply(&mut self, cart: Backend) {
        self.apply_to(cart, facts());
    }

    fn apply_to(&mut self, cart: Backend, facts: Facts) {
        let policy = policy(cart);
        policy.check().unwrap();
        let app = App::At { host: [127, 0, 0, 1].into(), port: None };
        let (service, zone) = ("web".parse().unwrap(), self.zone.map(Arc::from));
        let local = Local {
            identity: false,
            transparent: false,
            detail: Default::default(),
            service,
            node: "web-1".into(),
            zone,
            app: Some(app),
        };
        let (resolved, version) = (BTreeMap::new(), PlanVersion::default());
        let plan = Plan::build(&policy, &facts, &local, &resolved, &mut self.registry, version).unwrap();
        self.plan.store(Some(Arc::new(plan)));
        self.registry.sweep();
    }

    fn plan(&self) -> Arc<Plan> {
        self.plan.load_full().unwrap()
    }

    fn cart(&self) -> Arc<Cluster> {
        let name: ClusterName = "cart:80".parse().unwrap();
        self.plan().clusters[&name].clone()
    }

    /// The zones of 1,000 picks.
    fn zones(&self) -> BTreeMap<String, u32> {
        let endpoints = self.cart().endpoints.load_full();
        let mut rng = fastrand::Rng::with_seed(3);
        let mut zones = BTreeMap::new();
        for _ in 0..1_000 {
            let picked = endpoints.pick(clock::now_ns(), &mut || rng.u64(..), None, &[]).unwrap();
            let entry = endpoints.entries().iter().find(|entry| entry.endpoint.id() == picked.id());
            *zones.entry(entry.unwrap().zone.as_deref().unwrap().to_owned()).or_default() += 1;
        }
        zones
    }

    fn metrics(&self) -> String {
        let mut exposition = Exposition::new();
        // A cluster without a request is left out.
        drop(InFlight::start(self.cart().endpoints.load().open()[0].endpoint.clone()));
        write_health(&clusters(&self.plan()), &mut exposition);
        exposition.finish()
    }

    /// Status and reason of a call of `tenant` to cart, or of one that comes to web.
    async fn ask(&self, direction: Direction, tenant: Option<&'static str>) -> (u16, String) {
        let started_ns = clock::now_ns();
        let mut request = Request::new(());
        let host = if direction == Direction::Outbound { "cart" } else { "web" };
        request.headers_mut().insert("host", HeaderValue::from_static(host));
        if let Some(tenant) = tenant {
            request.headers_mut().insert("x-tenant", HeaderValue::from_static(tenant));
        }
        let call = Call {
            addressed: None,
            caller: None,
            client: None,
            edge: None,
            request: normalize_request(request.into_parts().0),
            body: Body::Empty,
            direction,
            port: None,
            peer: HeaderValue::from_static("127.0.0.1"),
            version: Version::HTTP_11,
            started_ns,
        };
        let activity = Rc::new(Activity::new(started_ns));
        let record = Record::start(self.worker.clone(), activity, direction, started_ns);
        let (reply, _) = answer(&self.worker, &stack(self.worker.clone()), call, record).await;
        let reason = reply.head.header(&HeaderName::from_static("outrigger-reason"));
        (reply.head.status().as_u16(), reason.map_or("", |reason| reason.to_str().unwrap()).to_owned())
    }

    /// Which endpoints have got requests.
    fn used(&self) -> BTreeSet<u32> {
        let endpoints = self.cart().endpoints.load_full();
        let used = endpoints.entries().iter().filter(|entry| entry.endpoint.requests() > 0);
        used.map(|entry| entry.endpoint.id()).collect()
    }
}

/// How many endpoints of a service of 100, called by 1,024, are this proxy's.
fn own(cart: Backend, zone: Option<&'static str>) -> (usize, Arc<Cluster>) {
    let mut rig = Rig::new(zone, backend());
    rig.apply_to(cart, facts_of(1_024, 100));
    let cluster = rig.cart();
    let endpoints = cluster.endpoints.load();
    let own = endpoints.subset().unwrap_or_else(|| endpoints.open()).len();
    drop(endpoints);
    (own, cluster)
}

async fn locally(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

fn preferring(endpoints_min: u32) -> Backend {
    Backend { zone_preference: Some(ZonePreference { endpoints_min }), ..backend() }
}

#[tokio::test]
async fn calls_stay_in_the_zone_of_the_proxy_as_far_as_its_callers_have_a_share() {
    locally(async {
        // s = 1/3 and u = 1/4 in a: three quarters stay, and the rest goes to c, since b has more callers than endpoints.
        let mut rig = Rig::new(Some("a"), preferring(6));
        let zones = rig.zones();
        assert!(zones["a"].abs_diff(750) < 60 && zones["a"] + zones["c"] == 1_000, "{zones:?}");
        let local = format!(r#"outrigger_zone_picks_total{{cluster="cart:80",zone="local"}} {}"#, zones["a"]);
        let other = format!(r#"outrigger_zone_picks_total{{cluster="cart:80",zone="other"}} {}"#, zones["c"]);
        let name = rig.cart().name.to_string();
        let metrics = rig.metrics().replace(&name, "cart:80");
        assert!(metrics.contains(&local) && metrics.contains(&other), "{metrics}");
        rig.apply(Backend { slow_start_ms: 1, ..preferring(6) });
        let metrics = rig.metrics().replace(&name, "cart:80");
        assert!(metrics.contains(&local), "the next plan counts on:\n{metrics}");
    })
    .await;
}

#[tokio::test]
async fn calls_go_anywhere_where_zones_are_not_known_or_not_wanted() {
    locally(async {
        for (zone, cart) in [
            (None, preferring(6)),
            (Some("a"), backend()),
            (Some("a"), preferring(9)),
            (Some("c"), preferring(6)),
        ] {
            let rig = Rig::new(zone, cart);
            let zones = rig.zones();
            let even = ["a", "b", "c"].iter().zip([250_u32, 500, 250]);
            assert!(
                even.clone().all(|(zone, count)| zones[*zone].abs_diff(count) < 70),
                "{zone:?}: {zones:?}"
            );
            let on = rig.cart().endpoints.load().prefers_zone();
            assert_eq!(rig.metrics().contains("outrigger_zone_picks_total"), on);
        }
        let rig = Rig::new(Some("a"), backend());
        assert!(!rig.metrics().contains("outrigger_zone_picks_total"), "not where it is off");
    })
    .await;
}

#[tokio::test]
async fn of_many_endpoints_each_of_many_callers_has_some() {
    locally(async {
        assert_eq!(own(backend(), None).0, 13, "128 of 1,024 callers for each endpoint");
        let subset = |endpoints_min| Backend { subset: Some(Subset { endpoints_min }), ..backend() };
        assert_eq!(own(subset(20), None).0, 20);
        assert_eq!(own(Backend { subset: None, ..backend() }, None).0, 100);
        let keyed = Backend { balance: Balance::ConsistentHash(HashKey::Source), ..backend() };
        assert_eq!(own(keyed, None).0, 100);
        assert_eq!(own(preferring(6), Some("a")).0, 100, "where a zone is preferred");
        assert_eq!(own(preferring(6), None).0, 13, "where none is known");
    })
    .await;
}

#[tokio::test]
async fn a_subset_grows_with_what_is_in_flight_and_outlives_a_plan() {
    locally(async {
        let mut rig = Rig::new(None, backend());
        let size = |rig: &Rig| {
            let cart = rig.cart();
            let endpoints = cart.endpoints.load();
            endpoints.subset().map(|own| own.len())
        };
        assert_eq!(size(&rig), None);
        rig.apply_to(backend(), facts_of(1_024, 100));
        assert_eq!(size(&rig), Some(13));
        let cart = rig.cart();
        assert!((0..20).all(|_| cart.load.requests.enter(100)));
        cart.resize(1_000_000_000_000);
        assert_eq!(size(&rig), Some(48), "twice what is in flight, and the next of 12 · 2ⁿ");
        rig.apply_to(Backend { slow_start_ms: 1, ..backend() }, facts_of(1_024, 100));
        assert_eq!(size(&rig), Some(48));
        let metrics = rig.metrics().replace("default/cart:80", "cart:80");
        for line in [r#"subset_size{cluster="cart:80"} 48"#, r#"subset_changes_total{cluster="cart:80"} 2"#] {
            assert!(metrics.contains(&format!("outrigger_{line}\n")), "{line}:\n{metrics}");
        }
        rig.apply_to(backend(), facts_of(2, 100));
        assert_eq!(size(&rig), None);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_meets_only_its_own_endpoints() {
    locally(async {
        let key = HashKey::Header("x-tenant".into());
        let balance = Balance::ShuffleShard(ShuffleShard { size: 2, key });
        let mut shards = BTreeSet::new();
        for tenant in [Some("a"), Some("b"), Some("c"), Some("d"), None] {
            let rig = Rig::new(None, Backend { balance: balance.clone(), ..backend() });
            for _ in 0..12 {
                assert_eq!(rig.ask(Direction::Outbound, tenant).await.0, 503);
            }
            assert_eq!(rig.used().len(), 2, "{tenant:?}");
            shards.insert(rig.used());
        }
        assert!(shards.len() > 2, "{shards:?}");
    })
    .await;
}

#[tokio::test]
async fn full_endpoints_are_a_local_reply_and_no_limit_of_the_workload() {
    locally(async {
        let limits = Limits { endpoint_requests: 2, ..Limits::default() };
        let rig = Rig::new(None, Backend { limits, ..backend() });
        let endpoints = rig.cart().endpoints.load_full();
        let mut held: Vec<_> = endpoints
            .open()
            .iter()
            .flat_map(|entry| [&entry.endpoint; 2])
            .map(|endpoint| InFlight::start(endpoint.clone()))
            .collect();
        let refused = rig.ask(Direction::Outbound, None).await;
        assert_eq!(refused, (503, "limit_requests".to_owned()));
        drop(held.pop());
        let tried = rig.ask(Direction::Outbound, None).await;
        assert_eq!(tried, (503, "connect_failed".to_owned()), "there is room again");

        let (_, inbound) = &rig.plan().inbound[0];
        let workload = inbound.destinations[0].cluster.endpoints.load_full();
        let held: Vec<_> = (0..5).map(|_| InFlight::start(workload.open()[0].endpoint.clone())).collect();
        assert_ne!(rig.ask(Direction::Inbound, None).await.1, "limit_requests");
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn what_was_called_in_the_last_ten_minutes_is_reported() {
    locally(async {
        let rig = Rig::new(None, backend());
        let mut calls = Calls::new(rig.plan.clone());
        let call = || drop(InFlight::start(rig.cart().endpoints.load().open()[0].endpoint.clone()));
        let until_ns = |from_ns| from_ns + CALLED_FOR.as_nanos() as u64;
        assert!(calls.lately(0).is_empty());
        call();
        assert_eq!(calls.lately(1), ["default/cart:80"]);
        assert_eq!(calls.lately(until_ns(1)), ["default/cart:80"]);
        assert!(calls.lately(until_ns(1) + 1).is_empty(), "it was long ago");
        call();
        assert_eq!(calls.lately(until_ns(9)), ["default/cart:80"], "and again");
    })
    .await;
}
