//! With everything armed, each protection fires once and says so in its counter.

use http::{Method, StatusCode};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Proxy, client};
use tokio::task::JoinSet;

use crate::config::{all, backend_policy, backends, route, service};
use crate::retries::count;

/// More than find a place: requests without a priority have 90 % of the 1,024 that are let in before anything is known of the application, and
/// 64 wait.
const HELD: usize = 1_050;

const LIMIT: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: RouteFilter\nmetadata: {name: one-a-day}\n\
                     spec: {rateLimit: {name: one-a-day, requests: 1, period: 24h}}";

#[tokio::test(flavor = "multi_thread")]
async fn each_protection_fires_once_and_is_counted() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    let filters = "filters: [{type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: one-a-day}}]";
    let limited =
        format!("matches: [{{path: {{value: /limited}}}}]\n{filters}\n{}", backends(&[("cart", 1)]));
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        service("gone", &[app.addr]),
        route("cart", &[limited, backends(&[("cart", 1)])]),
        LIMIT.to_owned(),
        backend_policy("cart", "timeouts: {request: 15s}"),
        backend_policy("gone", "retry: {attempts: 0}\n  breaker: {minRequests: 5, open: 60s, openMax: 60s}"),
    ]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop")).await;
    shop.ready().await;
    let fetch = async |host: &str, path: &str| {
        let request = client::request(Method::GET, host, path, "");
        client::send(shop.outbound, request).await.expect("it is answered")
    };

    assert_eq!(fetch("cart", "/later/1").await.status, StatusCode::OK);
    assert_eq!(count(&shop, &["outrigger_retries_total{", "/cart#", "reason=\"status\""]).await, 1);

    assert_eq!(fetch("cart", "/limited").await.status, StatusCode::OK);
    let limited = fetch("cart", "/limited").await;
    assert_eq!((limited.status, limited.reason()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert_eq!(count(&shop, &["outrigger_rate_limit_decisions_total{", "decision=\"refused\""]).await, 1);

    for _ in 0..5 {
        assert_eq!(fetch("gone", "/status/503").await.reason(), "");
    }
    assert_eq!(fetch("gone", "/").await.reason(), "breaker_open");
    let opened = ["outrigger_breaker_transitions_total{", "/gone:", "from=\"closed\"", "to=\"open\""];
    assert_eq!(count(&shop, &opened).await, 1);
    assert_eq!(count(&shop, &["outrigger_breaker_refused_total{", "/gone:"]).await, 1);

    let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(app.addr)).await;
    cart.ready().await;
    let inbound = cart.inbound.expect("asked for above");
    let mut asked = JoinSet::new();
    for _ in 0..HELD {
        asked.spawn(async move {
            client::send(inbound, client::request(Method::GET, "cart", "/never", "")).await
        });
    }
    let first = asked.join_next().await.expect("there are some").expect("it ends by itself");
    let shed = first.expect("it is answered");
    assert_eq!((shed.status, shed.reason()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    assert!(count(&cart, &["outrigger_overload_rejected_total"]).await >= 1);
}
