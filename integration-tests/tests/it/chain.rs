//! A chain of five sidecars with applications between them, and what a failure at its end adds up to.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use outrigger_integration_tests::app::relay::Relay;
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Load, Mesh, Proxy, client, eventually, port};

use crate::config::{all, backend_policy, service};
use crate::retries::count;

/// Requests into the chain.
const REQUESTS: u64 = 1_500;
/// A second.
const RATE: u32 = 300;
const DEADLINE: Duration = Duration::from_secs(60);

/// shop → a → b → c → leaf; the arrows are calls from one sidecar to the next.
struct Chain {
    leaf: App,
    proxies: Vec<Proxy>,
    _relays: Vec<Relay>,
    _mesh: Mesh,
}

impl Chain {
    async fn start(passes: &[&'static str], policy: &str, sheds: bool) -> Self {
        let (mesh, names) = (Mesh::new(), ["a", "b", "c", "leaf"]);
        let (leaf, inbound) = (App::start("leaf").await, names.map(|_| port::free()));
        let services = names.iter().zip(inbound).map(|(name, inbound)| service(name, &[inbound]));
        let policies = names.iter().map(|name| backend_policy(name, policy));
        let inbound_policies = names.iter().map(|name| {
            format!(
                "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
                 targetRefs: [{{kind: Service, name: {name}}}]\n  shed: {{enabled: {sheds}}}"
            )
        });
        let policies = policies.chain(inbound_policies);
        let resources: Vec<_> = services.chain([service("shop", &[])]).chain(policies).collect();
        mesh.publish(&all(&resources));

        let (mut proxies, mut relays) = (vec![mesh.proxy("shop").await], Vec::new());
        for (index, (name, inbound)) in names.iter().zip(inbound).enumerate() {
            let relay = Relay::start(passes).await;
            let app = if *name == "leaf" { leaf.addr } else { relay.addr };
            let sidecar = Sidecar::beside(name).inbound_to(app);
            let proxy = Proxy::start_inbound(&mesh, sidecar, inbound).await;
            if let Some(next) = names.get(index + 1) {
                relay.ask(proxy.outbound, next);
            }
            relays.push(relay);
            proxies.push(proxy);
        }
        for proxy in &proxies {
            proxy.ready().await;
        }
        Self { leaf, proxies, _relays: relays, _mesh: mesh }
    }

    /// Calls at the leaf for each request into the chain, while it fails half of them.
    async fn amplification(&self) -> f64 {
        self.amplification_of("a", "/half").await
    }

    /// The same for requests that go in at `first`, as the leaf answers this path.
    async fn amplification_of(&self, first: &str, path: &str) -> f64 {
        let mut plan = Plan::new(self.proxies[0].outbound, first, RATE);
        (plan.path, plan.traced) = (path.to_owned(), true);
        let load = Load::start(plan);
        let all = async || (load.so_far().sent >= REQUESTS).then_some(());
        eventually(DEADLINE, "the requests", all).await;
        let report = load.stop().await;
        assert!(report.succeeded > 0 || path != "/half", "{:?}", report.reasons());
        let load = self.leaf.requests() as f64 / report.sent as f64;
        println!("{load:.3} calls at the leaf for each request; {:?}", report.reasons());
        load
    }

    /// Failures that each hop did not retry since the hop below it had.
    async fn discouraged(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for proxy in &self.proxies {
            let parts = ["outrigger_retry_obstacles_total", "obstacle=\"pushback\""];
            counts.push(count(proxy, &parts).await);
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_applications_pass_on_a_trace_one_hop_retries() {
    for passes in [&["traceparent"], &["x-request-id"]] {
        let chain = Chain::start(passes, "timeouts: {connect: 1s}", true).await;
        let load = chain.amplification().await;
        assert!(load <= 1.2, "{passes:?}: {load}");
        let discouraged = chain.discouraged().await;
        assert!(discouraged[..3].iter().all(|count| *count > 0), "{passes:?}: {discouraged:?}");
        assert_eq!(discouraged[3..], [0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_they_pass_on_nothing_budgets_bound_it() {
    let load = Chain::start(&[], "timeouts: {connect: 1s}", true).await.amplification().await;
    assert!(load <= 1.5, "{load}");
}

/// RT-3. Breakers would end it sooner.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_last_of_three_hops_is_dead_budgets_bound_what_it_gets() {
    let policy = "breaker: {failurePercent: 0}\n  ejection: {maxPercent: 0}";
    let load = Chain::start(&[], policy, true).await.amplification_of("b", "/status/503").await;
    assert!((1.05..=1.4).contains(&load), "{load}");
}

/// What the other two are to prevent. Load shedding would, too, as waits before retries look like a slow application.
#[tokio::test(flavor = "multi_thread")]
async fn without_budgets_each_hop_multiplies_it() {
    let policy = "retry: {attempts: 3, budget: {percent: 100}}";
    let load = Chain::start(&[], policy, false).await.amplification().await;
    assert!(load > 1.8, "{load}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_believed_and_what_the_trusted_say_is_handed_down() {
    for (sources, trusted) in [("[]", false), ("[127.0.0.0/8]", true)] {
        let (mesh, leaf) = (Mesh::new(), App::start("leaf").await);
        let relay = Relay::start(&["x-request-id"]).await;
        let policy = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  \
             targetRefs: [{{kind: Service, name: cart}}]\n  trustedSources: {sources}"
        );
        mesh.publish(&all(&[service("cart", &[relay.addr]), service("leaf", &[leaf.addr]), policy]));
        let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(relay.addr)).await;
        cart.ready().await;
        relay.ask(cart.outbound, "leaf");

        let mut request = client::request(Method::GET, "cart", "/", "");
        for (name, value) in [
            ("outrigger-priority", "0"),
            ("outrigger-deadline-ms", "900"),
            ("outrigger-attempt", "2"),
            ("outrigger-shed", "1"),
        ] {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let answer = client::send(cart.inbound.expect("asked for above"), request).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);

        let came = relay.last();
        for name in ["outrigger-priority", "outrigger-attempt", "outrigger-shed"] {
            assert_eq!(came.contains_key(name), trusted, "{name}: {came:?}");
        }
        let made = leaf.last().expect("it was asked").headers;
        let priority = made.get("outrigger-priority").map(HeaderValue::as_bytes);
        assert_eq!(priority, trusted.then_some(&b"0"[..]));
        let remaining = made.get("outrigger-deadline-ms").map(|value| value.to_str().unwrap().parse::<u64>());
        assert_eq!(remaining.is_some_and(|ms| ms.unwrap() <= 900), trusted, "{made:?}");
        assert!(!made.contains_key("outrigger-attempt"), "it is the first try of this one");
    }
}
