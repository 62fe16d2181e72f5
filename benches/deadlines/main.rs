//! By how much requests with three retries outlast the time that they have, and what each try is told to be left.
//!
//! `cargo bench -p outrigger-integration-tests --profile quick --bench deadlines`. The sidecar is that of `$OUTRIGGER_BIN_DIR`, or built as the integration
//! tests do it. The application never answers. Time is that of the client, from before it writes to after it has read, so that it takes a quiet machine to
//! mean anything.

use std::time::{Duration, Instant};

use http::{Method, Version};
use outrigger_integration_tests::app::faulty::Faulty;
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::{Mesh, Proxy};
use tokio::task::JoinSet;

const REQUEST: Duration = Duration::from_millis(300);
const REQUESTS: u64 = 1_000;
/// Between two requests.
const PACE: Duration = Duration::from_millis(20);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("threads can be started");
    runtime.block_on(async {
        // Three tries and the beginning of a fourth; two and the beginning of a third.
        for (what, try_ms, base_ms) in [("three retries", 90, 5), ("two and a half", 110, 5)] {
            run(what, try_ms, base_ms).await;
        }
    });
}

async fn site(app: &Faulty, try_ms: u64, base_ms: u64) -> (Mesh, Proxy) {
    let mesh = Mesh::new();
    mesh.publish(&format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: shop}}, spec: {{ports: [{{name: main, port: 80, \
         protocol: HTTP}}]}}}}\n---\n\
         {{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: cart}}, spec: {{ports: [{{name: main, port: 80, \
         protocol: HTTP}}], endpoints: {{static: [{{address: '{}'}}]}}}}}}\n---\n\
         {{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {{name: cart}}, spec: {{targetRefs: [{{kind: Service, \
         name: cart}}], timeouts: {{request: {}ms, try: {try_ms}ms}}, ejection: {{maxPercent: 0}}, breaker: {{failurePercent: 0}}, retry: \
         {{attempts: 3, backoff: {{base: {base_ms}ms, max: {base_ms}ms}}, budget: {{percent: 100, floor: {{count: 1000, interval: 1s}}}}}}}}}}",
        app.addr,
        REQUEST.as_millis(),
    ));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (mesh, shop)
}

async fn run(what: &str, try_ms: u64, base_ms: u64) {
    let app = Faulty::start().await;
    let (_mesh, shop) = site(&app, try_ms, base_ms).await;
    let mut requests = JoinSet::new();
    let mut pace = tokio::time::interval(PACE);
    for id in 0..REQUESTS {
        pace.tick().await;
        let outbound = shop.outbound;
        requests.spawn(async move {
            let mut connection = Connection::open(outbound, Version::HTTP_11).await.expect("it listens");
            let mut request = client::request(Method::GET, "cart", "/hold", "");
            request.headers_mut().insert("x-id", id.into());
            let begun = Instant::now();
            let answer = connection.send(request).await.expect("the sidecar answers");
            (begun.elapsed(), answer.reason().to_owned())
        });
    }
    let answers = requests.join_all().await;
    let whole: Vec<_> = answers.iter().filter(|(_, reason)| reason == "request_timeout").collect();
    let mut beyond_ms: Vec<f64> =
        answers.iter().map(|(took, _)| took.as_secs_f64() * 1e3 - REQUEST.as_secs_f64() * 1e3).collect();
    beyond_ms.sort_by(f64::total_cmp);
    let at = |share: f64| beyond_ms[((beyond_ms.len() - 1) as f64 * share).round() as usize];
    let (mut tries, mut rising) = ([0; 5], 0);
    for id in 0..REQUESTS {
        let executions = app.executions(id);
        let left = executions.iter().filter_map(|execution| execution.fields.get("outrigger-deadline-ms"));
        let left: Vec<u64> = left.filter_map(|text| text.parse().ok()).collect();
        tries[left.len().min(4)] += 1;
        rising += u64::from(!left.is_sorted_by(|one, next| one > next) || left.first() > Some(&300));
    }
    println!(
        "{what:<15} beyond {REQUEST:?}, in ms: p50 {:.2}, p99 {:.2}, most {:.2}; {} of {REQUESTS} ended by the request's time; tried 1 to 4 \
         times: {:?}; told of more time than before: {rising}",
        at(0.5),
        at(0.99),
        at(1.0),
        whole.len(),
        &tries[1..],
    );
}
