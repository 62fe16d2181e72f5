//! One plan: a request is served by one version of the configuration, whatever is pushed meanwhile.

use std::time::{Duration, Instant};

use http::{Method, Version};
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Answer, App, Load, Mesh, Proxy, eventually};

use crate::config::{all, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(20);
const LASTS: Duration = Duration::from_secs(30);
const RATE: u32 = 200;
/// So many versions must have served something, or the test has shown nothing.
const VERSIONS_MIN: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_sees_two_versions() {
    let (even, odd) = (App::start("even").await, App::start("odd").await);
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    // One push: what a sidecar may see first has the route in it already.
    control_plane.apply(&mesh, &all(&[service("shop", &[]), service("cart", &[]), version(0, &even, &odd)]));
    mesh.published().await;
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").workers(2)).await;
    shop.ready().await;
    let mut plan = Plan::new(shop.outbound, "cart", RATE);
    plan.check = Some(is_one_version);
    let load = Load::start(plan);

    let start = Instant::now();
    let mut number = 0;
    let mut random = 0x9E37_79B9_u64;
    while start.elapsed() < LASTS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Each push is spaced by the requests that it has to live through, 0 to 80 of them.
        let next = load.so_far().succeeded + (random >> 33) % 80;
        eventually(DEADLINE, "traffic flows", async || (load.succeeded() >= next).then_some(())).await;
        number += 1;
        control_plane.apply(&mesh, &version(number, &even, &odd));
    }
    let report = load.stop().await;
    assert!(report.failed.is_empty(), "of {} requests failed: {:?}", report.sent, report.reasons());
    assert!(
        report.by_label.len() >= VERSIONS_MIN,
        "only {} of {number} versions served",
        report.by_label.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_closes_no_connection() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[one.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let mut kept = Connection::open(shop.outbound, Version::HTTP_11).await.expect("the sidecar listens");
    let mut ask =
        async || kept.send(client::request(Method::GET, "cart", "/", "")).await.expect("it is answered");
    assert_eq!(ask().await.header("x-app"), "one");
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[one.addr, two.addr]), service("new", &[])]));
    eventually(DEADLINE, "the added endpoint answers", async || {
        (ask().await.header("x-app") == "two").then_some(())
    })
    .await;
    eventually(DEADLINE, "so does the old one", async || {
        (ask().await.header("x-app") == "one").then_some(())
    })
    .await;
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

/// A version leaves its number in the request, the path and the response, and its parity in who answers.
fn version(number: u64, even: &App, odd: &App) -> String {
    let (name, weights) = if number.is_multiple_of(2) { ("even", [1, 0]) } else { ("odd", [0, 1]) };
    let wait = number % 40;
    let filters = format!(
        "filters:\n\
         - {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-version, value: '{number}'}}]}}}}\n\
         - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-version, value: '{number}'}}, {{name: x-expected, value: {name}}}]}}}}\n\
         - {{type: URLRewrite, urlRewrite: {{path: {{type: ReplaceFullPath, replaceFullPath: /slow/{wait}/{number}}}}}}}\n\
         {}",
        backends(&[("even", weights[0]), ("odd", weights[1])])
    );
    // Something unrelated comes and goes with each version.
    let bystander = format!("bystander-{}", number % 3);
    all(&[
        service("even", &[even.addr]),
        service("odd", &[odd.addr]),
        service(&bystander, &[even.addr, odd.addr]),
        route("cart", &[filters]),
    ])
}

/// The version that served a response, or what does not fit together in it.
fn is_one_version(answer: &Answer) -> Result<String, String> {
    let told = answer.json();
    let of_response = answer.header("x-version").to_owned();
    let of_request = told["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|pair| pair[0] == "x-version")
        .and_then(|pair| pair[1].as_str())
        .unwrap_or_default();
    let of_path = told["target"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let fits = of_response == of_request
        && of_response == of_path
        && answer.header("x-app") == answer.header("x-expected")
        && !of_response.is_empty();
    if fits { Ok(of_response) } else { Err(format!("a mix of versions: {:?} {told}", answer.headers)) }
}
