//! Far more requests than a workload can take, of which each costs it processor time: how much of its work is for somebody who still waits, and
//! what it costs the sidecar to say no.

use std::time::Duration;

use outrigger_integration_tests::app::bench::Bench;
use outrigger_integration_tests::app::burner::Burner;
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Load, Mesh, Proxy, client, eventually};

use crate::config::{all, service};
use crate::retries::count;

/// One thread, and this for each request: 200 a second.
const WORK: Duration = Duration::from_millis(5);
const CAPACITY: u32 = 200;
/// How long callers wait, in milliseconds.
const PATIENCE: &str = "250";
const CALM: u64 = 3;
const STEP: u64 = 10;
/// In which the limit is found.
const FINDING: Duration = Duration::from_secs(2);

const CHEAP_PLACES: usize = 8;
const CHEAP_WORK: Duration = Duration::from_millis(20);
/// Ten times what that takes.
const FLOOD: u32 = 4_000;
const FLOOD_SECONDS: u64 = 8;
/// For what more a sidecar may need while it refuses, once it has for a moment.
const ROOM_KIB: u64 = 8 * 1024;
/// Processor time for one refusal, with all that a busy machine adds to it.
const REFUSAL_MAX: Duration = Duration::from_micros(100);

/// A workload at `app` and its sidecar, which is asked directly.
async fn site(app: std::net::SocketAddr, shed: &str) -> (Mesh, Proxy) {
    let mesh = Mesh::new();
    let inbound = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: cart}}]\n  trustedSources: [127.0.0.1]\n{shed}"
    );
    mesh.publish(&all(&[service("cart", &[app]), inbound]));
    let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(app)).await;
    cart.ready().await;
    (mesh, cart)
}

fn load(cart: &Proxy, rate: u32) -> Load {
    let mut plan = Plan::new(cart.inbound.expect("it takes calls"), "cart", rate);
    plan.headers.push(("outrigger-deadline-ms", PATIENCE.parse().expect("digits")));
    Load::start(plan)
}

async fn until(load: &Load, seconds: u64, rate: u32) {
    let all = seconds * u64::from(rate);
    let deadline = Duration::from_secs(5 * seconds);
    eventually(deadline, "the requests", async || (load.sent() >= all).then_some(())).await;
}

/// Of the work done in the first moments of a step to twice the capacity, and after them: the share that somebody still waited for.
async fn wanted(shed: &str) -> (f64, f64) {
    let burner = Burner::start(1, WORK).await;
    let (_mesh, cart) = site(burner.addr, shed).await;
    let calm = load(&cart, CAPACITY / 2);
    until(&calm, CALM, CAPACITY / 2).await;
    calm.stop().await;

    let step = load(&cart, 2 * CAPACITY);
    let begun = burner.done();
    until(&step, FINDING.as_secs(), 2 * CAPACITY).await;
    let (found, early) = (burner.done(), step.succeeded());
    until(&step, STEP, 2 * CAPACITY).await;
    let (over, all) = (burner.done(), step.succeeded());
    step.stop().await;
    let share = |good: u64, done: u64| good as f64 / done.max(1) as f64;
    let shares = (share(early, found - begun), share(all - early, over - found));
    println!("worked on {} and {}; of that wanted {shares:.3?}", found - begun, over - found);
    assert!(over - found > (STEP - FINDING.as_secs()) * u64::from(CAPACITY) / 4, "it was busy");
    shares
}

#[tokio::test(flavor = "multi_thread")]
async fn at_twice_the_capacity_nearly_all_that_is_worked_on_is_wanted() {
    let (early, later) = wanted("").await;
    assert!(early >= 0.6 && later >= 0.85, "{early} and {later}");
}

/// What shedding is to prevent.
#[tokio::test(flavor = "multi_thread")]
async fn without_shedding_hardly_anything_is() {
    let (_, later) = wanted("  shed: {enabled: false}\n").await;
    assert!(later < 0.1, "{later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_say_no_costs_little_and_takes_no_memory() {
    let bench = Bench::start(CHEAP_PLACES, CHEAP_WORK).await;
    let (_mesh, cart) = site(bench.addr, "").await;
    let flood = load(&cart, FLOOD);
    until(&flood, 2, FLOOD).await;
    let refused = async || count(&cart, &["outrigger_overload_rejected_total{"]).await;
    let (cpu, before, resident_kib) = (cart.process.cpu(), refused().await, cart.process.resident_kib());
    until(&flood, FLOOD_SECONDS, FLOOD).await;
    let (cpu, after) = (cart.process.cpu() - cpu, refused().await);
    let grown_kib = cart.process.resident_kib().saturating_sub(resident_kib);
    let report = flood.stop().await;
    let refusals = after - before;
    let each = cpu / u32::try_from(refusals.max(1)).expect("a test's count");
    println!(
        "{refusals} refused, {each:?} of processor time for each; {grown_kib} KiB more; {:?}",
        report.reasons()
    );
    assert!(refusals > u64::from(FLOOD), "{refusals} refused: {:?}", report.reasons());
    assert!(each <= REFUSAL_MAX, "{each:?}");
    assert!(grown_kib <= ROOM_KIB, "{grown_kib} KiB");
    assert!(client::page(cart.admin, "/ready").await.is_ok());
}
