//! `docs/METRICS.md` is what a running mesh exposes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::{HeaderValue, Method};
use outrigger_integration_tests::gateway::{self, Gateway};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::{App, Mesh, Proxy, client, enrol, eventually, port};

use crate::config::{all, backend_policy, service, service_by_dns, service_of};

const DEADLINE: Duration = Duration::from_secs(20);
const DOCUMENT: &str = include_str!("../../../docs/METRICS.md");

/// What rows of families begin with.
const PREFIXES: [&str; 3] = ["| `outrigger_", "| `http_", "| `process_"];

const GLOBAL_LIMIT: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {name: shop}\nspec:\n  \
                            targetRefs: [{kind: Service, name: shop}]\n  \
                            rateLimits: [{name: all, requests: 1000, period: 1s, global: true}]";

/// Type and labels of each family.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_a_running_mesh_are_the_rows_of_the_document() {
    let app = App::start("cart").await;
    let (mesh, authority) = (Mesh::new(), Authority::new());
    enrol::init(&mesh, enrol::FOLDER, "Disabled");
    let (mut control_plane, _) = enrol::control_plane(&mesh, "one", &[]).await;
    let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let services = [
        service("twins", &[app.addr, hung.local_addr().unwrap()]),
        backend_policy(
            "twins",
            "hedge: {minDelay: 10ms}\n  timeouts: {try: 300ms}\n  retry: {budget: {percent: 100}}",
        ),
        here(&service("shop", &[app.addr])),
        GLOBAL_LIMIT.to_owned(),
        here(&service("cart", &[app.addr])),
        backend_policy("cart", "zonePreference: {enabled: true}\n  healthCheck: {tcp: {}}"),
        service("down", &[port::free()]),
        service("full", &[hung.local_addr().unwrap()]),
        backend_policy("full", "limits: {requests: 1}"),
        format!("{}\n  mtls: Permissive", service("sealed", &[app.addr])),
        authority.mesh("Disabled"),
        service_of("db", "TCP", &[app.addr, port::free()]),
        service_by_dns("named", "named.test", 80),
        gateway::gateway(&[gateway::https("web", port::free().port(), "shop.test", "nothing", "")]),
    ];
    control_plane.apply(&mesh, &all(&services));
    mesh.published().await;
    let (url, no_dns) = (format!("http://{}", control_plane.api), port::free().to_string());
    let nowhere = format!("redis://{}", port::free());
    let (db, nobody) = (port::free(), port::free());
    let forward = format!("{db}=db:80,{nobody}=nobody:80");
    let sidecar = Sidecar::beside("shop").inbound_to(app.addr).with(&[
        "--access-log",
        "/dev/null",
        "--otlp",
        "http://127.0.0.1:9",
        "--rate-limit-store",
        &nowhere,
        "--zone",
        "here",
        "--forward",
        &forward,
    ]);
    let sidecar = sidecar.proving(&authority.identify(mesh.folder(), "shop"));
    let shop = Proxy::start(&mesh, sidecar.with(&["--report", &url, "--dns-server", &no_dns])).await;
    shop.ready().await;
    // One that is not used.
    authority.identify_after(mesh.folder(), "shop", |params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    // One of everything that is counted: an answer, a failure, a refusal.
    for host in ["cart", "down", "named", "nobody", "sealed"] {
        client::fetch(shop.outbound, host, "/").await.unwrap();
    }
    let unavailable_once = format!("/later/{}", app.requests() + 1);
    client::fetch(shop.outbound, "cart", &unavailable_once).await.unwrap();
    // One is of gRPC.
    let mut call = client::request2(Method::POST, "down", "/shop.Cart/Add", "");
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    client::send(shop.outbound, call).await.unwrap();
    // One has no time left.
    let mut late = client::request(Method::GET, "cart", "/", "");
    late.headers_mut().insert("outrigger-deadline-ms", 1.into());
    client::send(shop.outbound, late).await.unwrap();
    // One of two cannot be reached; whoever meets it goes to the other.
    for _ in 0..20 {
        drop(tokio::net::TcpStream::connect(db).await);
    }
    drop(tokio::net::TcpStream::connect(nobody).await);
    // One of two never answers; whoever meets it asks the other, at once or after a while.
    for _ in 0..20 {
        client::fetch(shop.outbound, "twins", "/").await.unwrap();
    }
    // One never ends, and the other is one too many.
    let _full = ["/1", "/2"].map(|path| tokio::spawn(client::fetch(shop.outbound, "full", path)));
    let inbound = shop.inbound.expect("asked for above");
    client::fetch(inbound, "shop", "/").await.unwrap();
    let mut call = client::request2(Method::POST, "shop", "/shop.Cart/Add", "");
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    call.headers_mut().insert("grpc-timeout", HeaderValue::from_static("1n"));
    client::send(inbound, call).await.unwrap();
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    edge.ready().await;
    let control_metrics = control_plane.process.listening("--metrics").await;
    let expected = documented();
    assert!(expected.len() > 40, "the document is not read as it is written: {expected:?}");
    let what = "everything that is documented is exposed, and nothing else";
    let mut found = Families::new();
    let complete = async {
        eventually(DEADLINE, what, async || {
            found = exposed(edge.metrics).await;
            found.extend(exposed(shop.metrics).await);
            found.extend(exposed(control_metrics).await);
            (found == expected).then_some(())
        })
        .await;
    };
    if tokio::time::timeout(DEADLINE / 2, complete).await.is_err() {
        assert_eq!(found, expected);
    }
    for metrics in [edge.metrics, shop.metrics, control_metrics] {
        let page = client::page(metrics, "/metrics").await.expect("it serves metrics").text();
        linted(&page);
    }
}

/// Prometheus's own tool has nothing to say about a page.
fn linted(page: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool is installed, see .ci/run");
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(page.as_bytes()).expect("it reads all of it");
    drop(stdin);
    let out = promtool.wait_with_output().expect("it ends");
    assert!(out.status.success() && out.stderr.is_empty(), "{}", said(&out));
}

/// A service all of whose endpoints run where the proxy does.
fn here(service: &str) -> String {
    service.replace("'}", "', zone: here}")
}

/// What is exposed at `address`.
async fn exposed(address: SocketAddr) -> Families {
    let page = client::page(address, "/metrics").await.expect("it serves metrics").text();
    let mut families = Families::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        }
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let family =
            ["_bucket", "_sum", "_count", ""].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        let known = family.filter(|family| families.contains_key(*family)).unwrap_or(name);
        assert!(families.contains_key(known), "{line} has no type");
        let (_, labels) = families.get_mut(known).expect("checked one line above");
        let pairs =
            line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(pairs, _)| pairs);
        let names =
            pairs.split("\",").filter_map(|pair| pair.split_once("=\"")).map(|(label, _)| label.to_owned());
        labels.extend(names.filter(|label| label != "le"));
    }
    families
}

/// What the tables of the document say.
fn documented() -> Families {
    let mut families = Families::new();
    for row in DOCUMENT.lines().filter(|line| PREFIXES.iter().any(|prefix| line.starts_with(prefix))) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        // Rows of expressions that are worth an alert have other columns.
        let [_, names, kind @ ("counter" | "gauge" | "histogram"), labels, meaning, ""] = cells[..] else {
            continue;
        };
        assert!(!meaning.is_empty(), "{row}");
        let labels: BTreeSet<String> =
            labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        for name in names.split(", ") {
            let name = name.trim_matches('`').to_owned();
            let before = families.insert(name, (kind.to_owned(), labels.clone()));
            assert!(before.is_none(), "twice: {row}");
        }
    }
    families
}
