//! A step to twice what a workload of one busy thread can take, with load shedding and without; then ten times what a workload can take, and what it
//! costs its sidecar to refuse the rest.
//!
//! `cargo bench -p outrigger-integration-tests --profile quick --bench overload`. The sidecar is that of `$OUTRIGGER_BIN_DIR`, or built as the integration
//! tests do it; load and workload are in this process, so that it takes two idle cores to mean anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use outrigger_integration_tests::app::bench::Bench;
use outrigger_integration_tests::app::burner::Burner;
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Load, Mesh, Proxy};

/// Of processor time for each request of the first workload.
const WORK: Duration = Duration::from_millis(5);
/// How long callers wait; the workload does not know.
const PATIENCE: Duration = Duration::from_millis(250);
const SATURATED: Duration = Duration::from_secs(4);
const CALM: Duration = Duration::from_secs(5);
const FINDING: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_secs(15);

/// Of the second workload: 1,000 a second.
const PLACES: usize = 20;
const PLACE_WORK: Duration = Duration::from_millis(20);
const FLOOD: u32 = 10_000;
const FLOOD_SECONDS: u32 = 10;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("threads can be started");
    runtime.block_on(async {
        step("with shedding", "").await;
        step("without", "shed: {enabled: false}, ").await;
        flood().await;
    });
}

async fn site(app: SocketAddr, shed: &str) -> (Mesh, Proxy) {
    let mesh = Mesh::new();
    let text = format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: cart}}, spec: {{ports: [{{name: main, port: 80, \
         protocol: HTTP}}], endpoints: {{static: [{{address: '{app}'}}]}}}}}}\n---\n{{apiVersion: outrigger.dev/v1alpha1, kind: \
         InboundPolicy, metadata: {{name: cart}}, spec: {{targetRefs: [{{kind: Service, name: cart}}], {shed}trustedSources: [127.0.0.1]}}}}"
    );
    mesh.publish(&text);
    let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(app)).await;
    cart.ready().await;
    (mesh, cart)
}

fn load(cart: &Proxy, rate: u32) -> Load {
    let mut plan = Plan::new(cart.inbound.expect("it takes calls"), "cart", rate);
    let patience = PATIENCE.as_millis().to_string();
    plan.headers.push(("outrigger-deadline-ms", patience.parse().expect("digits")));
    Load::start(plan)
}

async fn step(what: &str, shed: &str) {
    let burner = Burner::start(1, WORK).await;
    // More than it takes, straight to it: it is never idle.
    let saturating = Load::start(Plan::new(burner.addr, "cart", (1.3 / WORK.as_secs_f64()) as u32));
    tokio::time::sleep(SATURATED / 4).await;
    let (begun, done) = (Instant::now(), burner.done());
    tokio::time::sleep(SATURATED).await;
    let capacity = (burner.done() - done) as f64 / begun.elapsed().as_secs_f64();
    saturating.stop().await;

    let (_mesh, cart) = site(burner.addr, shed).await;
    let calm = load(&cart, (capacity / 2.0) as u32);
    tokio::time::sleep(CALM).await;
    let calm = calm.stop().await;
    let stepped = load(&cart, (2.0 * capacity) as u32);
    tokio::time::sleep(STEP).await;
    let report = stepped.stop().await;
    let Some(first) = report.latencies.iter().map(|(sent, _)| *sent).min() else { return };
    let goodput = |from: Duration, to: Duration| {
        let answered = report.latencies.iter().filter(|(sent, took)| {
            let at = *sent + *took - first;
            *took <= PATIENCE && at >= from && at < to
        });
        100.0 * answered.count() as f64 / (to - from).as_secs_f64() / capacity
    };
    println!(
        "{what:<14} capacity {capacity:.0}/s, calm {} of {} well; at twice that: {:.1} % of it in the first {FINDING:?}, {:.1} % after; {:?}",
        calm.succeeded,
        calm.sent,
        goodput(Duration::ZERO, FINDING),
        goodput(FINDING, STEP),
        report.reasons(),
    );
}

async fn flood() {
    let bench = Bench::start(PLACES, PLACE_WORK).await;
    let (_mesh, cart) = site(bench.addr, "").await;
    let load = load(&cart, FLOOD);
    for _ in 0..3 {
        let (begun, cpu) = (Instant::now(), cart.process.cpu());
        let (sent, well, resident_kib) = (load.sent(), load.succeeded(), cart.process.resident_kib());
        tokio::time::sleep(Duration::from_secs(FLOOD_SECONDS.into())).await;
        let (cpu, time) = ((cart.process.cpu() - cpu).as_secs_f64(), begun.elapsed().as_secs_f64());
        let (sent, well) = (load.sent() - sent, load.succeeded() - well);
        let refused = sent - well;
        println!(
            "ten times as much: {:.0} refused and {:.0} served a second with {:.1} % of a core; {:.1} % for 10,000 refusals; \
             resident {resident_kib} KiB, then {} KiB",
            refused as f64 / time,
            well as f64 / time,
            100.0 * cpu / time,
            100.0 * cpu / refused as f64 * 10_000.0,
            cart.process.resident_kib(),
        );
    }
    load.stop().await;
}
