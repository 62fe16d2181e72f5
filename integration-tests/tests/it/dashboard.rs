//! The page at `/`, as people see it: a real browser, a real mesh. What the browser does is in `integration-tests/browser`.
//!
//! Chromium is Debian's; `.ci/emulators` installs what drives it below `target/tools` (`OUTRIGGER_TEST_TOOLS` names another place). Pictures
//! for people lie in `target/dashboard`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::{HeaderValue, Method};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::process::finished;
use outrigger_integration_tests::{App, ControlPlane, Mesh, Proxy, client, enrol, eventually, port};
use serde_json::{Value, json};

use crate::config::{all, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(30);
/// Until a browser has looked at everything, on a machine with much else to do.
const BROWSER_MAX: Duration = Duration::from_secs(240);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Between two requests of the traffic.
const PAUSE: Duration = Duration::from_millis(20);
/// What would be markup, if texts could become any.
const HOSTILE: &str = "<script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=1>";

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_a_living_mesh() {
    let (mesh, cart, next, pay) =
        (Mesh::new(), App::start("cart").await, App::start("next").await, App::start("pay").await);
    let believed = enrol::init(&mesh, enrol::FOLDER, "Disabled");
    let (control_plane, enrolment) = enrol::control_plane(&mesh, "one", &[]).await;
    let inbound = port::free();
    let resources = [
        believed,
        service("shop", &[]),
        service("cart", &[inbound]),
        service("cart-next", &[next.addr]),
        service("pay", &[pay.addr]),
        route("cart", &[backends(&[("cart", 90), ("cart-next", 10)])]),
    ];
    push(&mesh, &control_plane, &all(&resources));
    mesh.published().await;
    let url = format!("http://{}", control_plane.api);
    let token = enrol::keep(&mesh, "shop", &enrol::token(&mesh, &control_plane, "shop", &[]).1);
    let shop = Sidecar::beside("shop").enrolling(enrolment, &token).with(&["--report", &url]);
    let shop = Proxy::start(&mesh, shop).await;
    let beside_cart = Sidecar::beside("cart").inbound_to(cart.addr).with(&["--report", &url]);
    let beside_cart = Proxy::start_inbound(&mesh, beside_cart, inbound).await;
    shop.ready().await;
    beside_cart.ready().await;
    let (api, outbound) = (control_plane.api, shop.outbound);
    let old = json!({"node": "o1", "service": "default/old", "version": "0", "calls": ["default/cart:80"]});
    let traffic = tokio::spawn(async move {
        loop {
            for (host, path) in [("cart", "/"), ("pay", "/"), ("cart", "/slow/5"), ("pay", "/status/500")] {
                client::fetch(outbound, host, path).await.expect("the mesh answers");
                tokio::time::sleep(PAUSE).await;
            }
            // As often as a proxy would: who reports once is silent after a while.
            report(api, &hostile()).await;
            report(api, &old).await;
        }
    });
    counted(&control_plane, "default/pay").await;
    browse("living.mjs", &[&url]).await;
    traffic.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_away() {
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    let url = format!("http://{}", control_plane.api);
    browse("parts.mjs", &["empty", &url]).await;
    push(&mesh, &control_plane, &split());
    mesh.published().await;
    let process = control_plane.process.id().to_string();
    browse("parts.mjs", &["store", &url, &mesh.store().display().to_string(), &process]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_for_the_token() {
    let mesh = Mesh::new();
    let token = mesh.file(TOKEN).display().to_string();
    let control_plane = ControlPlane::start(&mesh, "one", &["--token-file", &token]).await;
    let file = mesh.file(&split()).display().to_string();
    let out = control_plane.outrigger(&mesh, "apply", &["--token-file", &token, "-f", &file]);
    assert!(out.status.success(), "{}", said(&out));
    browse("token.mjs", &[&format!("http://{}", control_plane.api), TOKEN]).await;
}

fn split() -> String {
    let split = route("cart", &[backends(&[("cart", 1), ("cart-next", 1)])]);
    all(&[service("cart", &[port::free()]), service("cart-next", &[port::free()]), split])
}

fn push(mesh: &Mesh, control_plane: &ControlPlane, yaml: &str) {
    let file = mesh.file(yaml).display().to_string();
    let out = control_plane.outrigger(mesh, "apply", &["-f", &file, "--message", "the first push"]);
    assert!(out.status.success(), "{}", said(&out));
}

/// A report as no proxy makes it, all of whose texts are hostile.
fn hostile() -> Value {
    json!({
        "node": HOSTILE, "service": HOSTILE, "version": HOSTILE, "refusals": 1, "last_refusal": HOSTILE,
        "quarantined": ["abcdef0123456789", HOSTILE],
        "traffic": {"window_ms": 10_000, "bounds_us": [1_000], "clusters": [
            {"cluster": HOSTILE, "direction": "outbound", "requests": 1, "failures": 0, "durations": [1, 0]}]},
        "failures": [{"id": HOSTILE, "at_unix_ms": 1, "reason": format!("no_route{HOSTILE}"), "sentence": HOSTILE,
                      "service": HOSTILE, "route": HOSTILE}],
    })
}

async fn report(api: SocketAddr, report: &Value) {
    let mut post = client::request(Method::POST, &api.to_string(), "/v1/reports", report.to_string());
    post.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    let taken = client::send(api, post).await.expect("the control plane answers");
    assert_eq!(taken.status, 200, "{}", taken.text());
}

/// Waits until the sidecar of the shop has told of its calls to `service`, failures among them.
async fn counted(control_plane: &ControlPlane, service: &str) {
    eventually(DEADLINE, &format!("calls to {service} are counted"), async || {
        let overview = client::page(control_plane.api, "/v1/overview").await.ok()?.json();
        let edges = overview["edges"].as_array()?.iter();
        let edge = edges.filter(|edge| edge["from"] == "default/shop").find(|edge| edge["to"] == service)?;
        let figures = &edge["figures"];
        assert!(figures["p50"]["ms"].as_f64() <= figures["p99"]["ms"].as_f64(), "{figures}");
        (figures["failures"].as_u64()? > 10).then_some(())
    })
    .await;
}

/// Has a browser look, as the script says.
async fn browse(script: &str, arguments: &[&str]) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let tools = std::env::var_os("OUTRIGGER_TEST_TOOLS").map_or_else(|| target.join("tools"), PathBuf::from);
    let playwright = tools.join("playwright-core");
    assert!(playwright.exists(), "{} is not installed; run .ci/emulators", playwright.display());
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(script)).args(arguments);
    command.env("OUTRIGGER_TEST_PLAYWRIGHT", playwright);
    command.env("OUTRIGGER_TEST_CHROMIUM", chromium());
    command.env("OUTRIGGER_TEST_PICTURES", target.join("dashboard"));
    let out = finished(command, BROWSER_MAX).await;
    assert!(out.status.success(), "{script}:\n{}", said(&out));
}

fn chromium() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&folders).map(|folder| folder.join("chromium")).find(|path| path.exists());
    found.expect("chromium is installed, see .ci/run")
}
