//! gRPC as others speak it: a server and a client of grpcio, with a sidecar each and mutual TLS between them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::process::{Process, finished};
use outrigger_integration_tests::{Mesh, Proxy, binaries, port};
use serde_json::{Value, json};

use crate::config::{all, backend_policy, service, service_of};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(100);

fn peer(arguments: &[&str]) -> Command {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/grpc_clients/peer.py");
    let mut command = Command::new(binaries::tool("grpcio/bin/python"));
    command.arg(script).args(arguments);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_and_a_real_server_make_every_kind_of_call_through_two_sidecars() {
    let mut app = Process::start("gRPC server", &mut peer(&["serve"]));
    let app = (app.listening("--grpc").await, app);
    let (authority, mesh, inbound) = (Authority::new(), Mesh::new(), port::free());
    let policy = "retry: {attempts: 3, idempotent: true, budget: {percent: 100}}";
    mesh.publish(&all(&[
        authority.mesh("Strict"),
        service("shop", &[]),
        service_of("cart", "GRPC", &[inbound]),
        backend_policy("cart", policy),
    ]));
    let beside =
        |service: &str| Sidecar::beside(service).proving(&authority.identify(mesh.folder(), service));
    let cart = Proxy::start_inbound(&mesh, beside("cart").inbound_to(app.0), inbound).await;
    let shop = Proxy::start(&mesh, beside("shop")).await;
    cart.ready().await;
    shop.ready().await;

    let out = finished(peer(&["call", &shop.outbound.to_string(), "cart"]), DEADLINE).await;
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let result: Value = serde_json::from_slice(&out.stdout).expect("it prints JSON");
    let expected = json!({
        "unary": ["hello for spiffe://mesh.test/ns/default/svc/shop", "5"],
        "large": true,
        "fail": ["FAILED_PRECONDITION", "the cart is empty: 100 % öde", {"why-bin": "00ff"}],
        "missing": "UNIMPLEMENTED",
        "count": true,
        "count_and_fail": [["OUT_OF_RANGE", "there are no more", {}], [0, 1, 2]],
        "add": 499_500,
        "echo": true,
        "deadline": ["DEADLINE_EXCEEDED", true],
        "cancel": "CANCELLED",
        "flaky": "3",
        "flaky_once": "UNAVAILABLE",
        "cancelled": 2,
    });
    assert_eq!(result, expected);
    let retries = ["outrigger_retries_total", "direction=\"outbound\""];
    assert_eq!(count(&shop, &retries).await, 2, "the client's own are switched off");
    let handshakes = ["outrigger_tls_handshakes_total", "direction=\"inbound\"", "result=\"ok\""];
    assert_eq!(count(&cart, &handshakes).await, 1, "all calls share a connection");
}
