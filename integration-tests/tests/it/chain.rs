//! A chain of five sidecars with applications between them, and what a failure at its end adds up to.

use std::time::Duration;

use outrigger_integration_tests::app::relay::Relay;
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Load, Mesh, Proxy, client, eventually, port};

use crate::config::{all, backend_policy, service};

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
    async fn start(passes: &[&'static str], policy: &str) -> Self {
        let (mesh, names) = (Mesh::new(), ["a", "b", "c", "leaf"]);
        let (leaf, inbound) = (App::start("leaf").await, names.map(|_| port::free()));
        let services = names.iter().zip(inbound).map(|(name, inbound)| service(name, &[inbound]));
        let policies = names.iter().map(|name| backend_policy(name, policy));
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
        let mut plan = Plan::new(self.proxies[0].outbound, "a", RATE);
        (plan.path, plan.traced) = ("/half".to_owned(), true);
        let load = Load::start(plan);
        let all = async || (load.so_far().sent >= REQUESTS).then_some(());
        eventually(DEADLINE, "the requests", all).await;
        let report = load.stop().await;
        assert!(report.succeeded > 0, "{:?}", report.reasons());
        let load = self.leaf.requests() as f64 / report.sent as f64;
        println!("{load:.3} calls at the leaf for each request; {:?}", report.reasons());
        load
    }

    /// Failures that each hop did not retry since the hop below it had.
    async fn discouraged(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for proxy in &self.proxies {
            let page = client::page(proxy.metrics, "/metrics").await.expect("metrics are served").text();
            let lines = page.lines().filter(|line| {
                line.starts_with("outrigger_retry_obstacles_total") && line.contains("obstacle=\"pushback\"")
            });
            counts.push(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum());
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_applications_pass_on_a_trace_one_hop_retries() {
    for passes in [&["traceparent"], &["x-request-id"]] {
        let chain = Chain::start(passes, "timeouts: {connect: 1s}").await;
        let load = chain.amplification().await;
        assert!(load <= 1.2, "{passes:?}: {load}");
        let discouraged = chain.discouraged().await;
        assert!(discouraged[..3].iter().all(|count| *count > 0), "{passes:?}: {discouraged:?}");
        assert_eq!(discouraged[3..], [0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_they_pass_on_nothing_budgets_bound_it() {
    let load = Chain::start(&[], "timeouts: {connect: 1s}").await.amplification().await;
    assert!(load <= 1.5, "{load}");
}

/// What the other two are to prevent.
#[tokio::test(flavor = "multi_thread")]
async fn without_budgets_each_hop_multiplies_it() {
    let policy = "retry: {attempts: 3, budget: {percent: 100}}";
    let load = Chain::start(&[], policy).await.amplification().await;
    assert!(load > 1.8, "{load}");
}
