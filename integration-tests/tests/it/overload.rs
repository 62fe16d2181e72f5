//! More load than a workload can take, with real processes: a caller's sidecar, the workload's, and a workload that works on eight requests at a
//! time, for 20 ms each.
//!
//! The first test's two halves are one experiment: without the defaults, a moment of too much load never ends.

use std::time::Duration;

use http::HeaderValue;
use outrigger_integration_tests::app::bench::Bench;
use outrigger_integration_tests::load::{Plan, Report};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Load, Mesh, Proxy, eventually, port};

use crate::config::{all, backend_policy, service};
use crate::retries::count;

const PLACES: usize = 8;
const WORK: Duration = Duration::from_millis(20);
/// Requests a second that the workload can take.
const CAPACITY: u32 = 400;
/// After which the limit has been found.
const SETTLED: Duration = Duration::from_secs(2);
/// How long callers wait.
const PATIENCE: &str = "timeouts: {try: 200ms, request: 1s}";

struct Site {
    shop: Proxy,
    cart: Proxy,
    bench: Bench,
    _mesh: Mesh,
}

impl Site {
    async fn start(backend: &str, inbound: &str) -> Self {
        let (mesh, inbound_at) = (Mesh::new(), port::free());
        let bench = Bench::start(PLACES, WORK).await;
        let inbound = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  \
             targetRefs: [{{group: \"\", kind: Service, name: cart}}]\n  trustedSources: [127.0.0.1]\n{inbound}"
        );
        let policy = backend_policy("cart", backend);
        mesh.publish(&all(&[service("shop", &[]), service("cart", &[inbound_at]), policy, inbound]));
        let shop = mesh.proxy("shop").await;
        let cart = Sidecar::beside("cart").inbound_to(bench.addr);
        let cart = Proxy::start_inbound(&mesh, cart, inbound_at).await;
        shop.ready().await;
        cart.ready().await;
        Self { shop, cart, bench, _mesh: mesh }
    }

    /// Load of `rate` for `time`, with this priority.
    async fn load(&self, rate: u32, time: Duration, priority: &'static str) -> Report {
        let mut plan = Plan::new(self.shop.outbound, "cart", rate);
        plan.headers.push(("outrigger-priority", HeaderValue::from_static(priority)));
        let load = Load::start(plan);
        let all = u64::from(rate) * time.as_secs();
        eventually(2 * time, "the requests", async || (load.so_far().sent >= all).then_some(())).await;
        load.stop().await
    }
}

/// What came of a moment of too much load.
struct Aftermath {
    /// Of the last requests, those that succeeded.
    share: f64,
    /// Of all that was worked on, what somebody still waited for.
    wanted: f64,
}

/// Ten seconds of twice the load that it can take, then 85 % of it for `after` and five seconds more, which are the last.
async fn after_a_trigger(site: &Site, after: Duration) -> Aftermath {
    let usual = CAPACITY * 85 / 100;
    let second = Duration::from_secs(1);
    let steady = async {
        let first = site.load(usual, 10 * second + after, "1").await;
        (first, site.load(usual, 5 * second, "1").await)
    };
    let trigger = site.load(2 * CAPACITY - usual, 10 * second, "1");
    let ((first, last), trigger) = tokio::join!(steady, trigger);
    let succeeded = first.succeeded + last.succeeded + trigger.succeeded;
    let wanted = succeeded as f64 / site.bench.done() as f64;
    println!("{:?} of {} failed; {wanted:.3} of the work was wanted", last.reasons(), last.sent);
    Aftermath { share: last.succeeded as f64 / last.sent as f64, wanted }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_of_overload_ends_when_it_is_over() {
    let site = Site::start(PATIENCE, "").await;
    let Aftermath { share, wanted } = after_a_trigger(&site, Duration::from_secs(10)).await;
    assert!(share >= 0.95, "{share} of the requests succeed 10 s after it");
    // Breakers would end it as well; but what they let through comes too late.
    assert!(wanted >= 0.9, "{wanted} of the work was wanted");
}

/// What the defaults are to prevent.
#[tokio::test(flavor = "multi_thread")]
async fn with_retries_and_nothing_else_it_never_ends() {
    let naive = format!(
        "{PATIENCE}\n  retry: {{attempts: 3, budget: {{percent: 100}}}}\n  ejection: {{maxPercent: 0}}\n  \
         breaker: {{failurePercent: 0}}"
    );
    let site = Site::start(&naive, "  shed: {enabled: false}\n").await;
    let Aftermath { share, .. } = after_a_trigger(&site, Duration::from_secs(10)).await;
    assert!(share < 0.5, "{share} of the requests succeed 10 s after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_three_times_the_capacity_it_does_what_it_can_and_the_critical_first() {
    let site = Site::start(PATIENCE, "").await;
    let calm = site.load(CAPACITY / 2, Duration::from_secs(5), "1").await;
    let critical = CAPACITY / 2;
    let time = Duration::from_secs(30);
    let (usual, critical) =
        tokio::join!(site.load(3 * CAPACITY - critical, time, "1"), site.load(critical, time, "0"));
    let done = (usual.succeeded + critical.succeeded) as f64 / (f64::from(CAPACITY) * time.as_secs_f64());
    let served = critical.succeeded as f64 / critical.sent as f64;
    println!(
        "goodput {done:.3} of the capacity; critical {served:.4}; p99 {:?} and {:?}, after 2 s {:?} and {:?}, \
         unloaded {:?}",
        usual.latency(0.99),
        critical.latency(0.99),
        usual.latency_after(SETTLED, 0.99),
        critical.latency_after(SETTLED, 0.99),
        calm.latency(0.99)
    );
    // Without shedding it is less than a tenth (`flood`).
    assert!(done >= 0.9, "goodput {done}");
    let shed = ["outrigger_overload_rejected_total{", "priority=\"1\",reason=\"waited\""];
    assert!(count(&site.cart, &shed).await > 0);
    assert!(served >= 0.99, "critical {served}: {:?}", critical.reasons());
}
