//! Limits of rate and faults, as operators write them.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::{Answer, App, ControlPlane, Mesh, Proxy, client, eventually};

use crate::config::{all, backends, route, service, service_of};

const DEADLINE: Duration = Duration::from_secs(20);
/// Between two requests of one user at two a day: no test waits for it.
const INTERVAL_S: u64 = 43_200;
/// What a slow machine may take from that while a test runs.
const SLACK_S: u64 = 600;

/// A limit for each user of the cart.
fn limit(requests: u32) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: cart}}]\n  \
         rateLimits: [{{name: calls, requests: {requests}, period: 24h, keys: [{{header: X-User}}]}}]"
    )
}

fn filter(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: RouteFilter\nmetadata: {{name: {name}}}\nspec: {{{spec}}}"
    )
}

fn named(filter: &str) -> String {
    format!(
        "filters: [{{type: ExtensionRef, extensionRef: {{group: outrigger.dev, kind: RouteFilter, name: {filter}}}}}]"
    )
}

/// A sidecar beside the cart, which the limit protects.
struct Fixture {
    mesh: Mesh,
    control_plane: ControlPlane,
    cart: Proxy,
    app: App,
}

impl Fixture {
    async fn new() -> Self {
        let (mesh, app) = (Mesh::new(), App::start("cart").await);
        let control_plane = mesh.control_plane("one").await;
        control_plane.apply(&mesh, &all(&[service("cart", &[app.addr]), limit(2)]));
        mesh.published().await;
        let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(app.addr)).await;
        cart.ready().await;
        Self { mesh, control_plane, cart, app }
    }

    /// What a user is answered at the inbound side.
    async fn call(&self, user: &str, content_type: &'static str) -> Answer {
        let mut request = client::request2(Method::POST, "cart", "/", "");
        request.headers_mut().insert("x-user", user.parse().expect("a name can stand in a header"));
        request.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        let inbound = self.cart.inbound.expect("asked for above");
        client::send(inbound, request).await.expect("the sidecar answers")
    }

    async fn status(&self, user: &str) -> StatusCode {
        self.call(user, "text/plain").await.status
    }

    /// Applies a service that has nothing to do with the cart, and waits until the sidecar has it.
    async fn change_elsewhere(&self, name: &str) {
        self.control_plane.apply(&self.mesh, &service(name, &[self.app.addr]));
        eventually(DEADLINE, "the sidecar has the other service", async || {
            let answer = client::fetch(self.cart.outbound, name, "/").await.ok()?;
            (answer.status == StatusCode::OK).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_counts_each_user_and_says_so() {
    let mesh = Fixture::new().await;
    assert_eq!(mesh.status("ann").await, StatusCode::OK);
    let refused = mesh.call("ann", "text/plain").await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert_eq!(refused.header("ratelimit-policy"), "\"calls\";q=2;w=86400");
    let due = |text: &str| {
        let seconds: u64 = text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"));
        (INTERVAL_S - SLACK_S..=INTERVAL_S).contains(&seconds)
    };
    assert!(due(refused.header("retry-after")), "{refused:?}");
    let left = refused.header("ratelimit").strip_prefix("\"calls\";r=0;t=");
    assert!(left.is_some_and(due), "{refused:?}");
    let by_grpc = mesh.call("ann", "application/grpc").await;
    assert_eq!((by_grpc.status, by_grpc.header("grpc-status")), (StatusCode::OK, "8"), "RESOURCE_EXHAUSTED");
    assert_eq!(mesh.app.requests(), 1, "what is refused does not come to the application");
    assert_eq!(mesh.status("bob").await, StatusCode::OK);
    assert_eq!(mesh.status("bob").await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_another_limit_begins_anew() {
    let mesh = Fixture::new().await;
    assert_eq!(mesh.status("ann").await, StatusCode::OK);
    mesh.change_elsewhere("first").await;
    assert_eq!(mesh.status("ann").await, StatusCode::TOO_MANY_REQUESTS);

    let wrong = mesh.control_plane.try_apply(&mesh.mesh, &all(&[service("late", &[]), limit(0)]));
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    assert!(said(&wrong).contains("spec.rateLimits[0].requests: is the number 0"), "{}", said(&wrong));
    // The next revision is made of what there was, without what was refused.
    mesh.change_elsewhere("second").await;
    assert_eq!(mesh.status("ann").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(mesh.status("bob").await, StatusCode::OK);
    assert_eq!(mesh.status("bob").await, StatusCode::TOO_MANY_REQUESTS);

    mesh.control_plane.apply(&mesh.mesh, &limit(3));
    eventually(DEADLINE, "the new limit holds", async || {
        (mesh.status("ann").await == StatusCode::OK).then_some(())
    })
    .await;
    let refused = mesh.call("ann", "text/plain").await;
    assert_eq!(refused.header("ratelimit-policy"), "\"calls\";q=3;w=86400");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_hits_the_rule_that_names_it_alone() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    let to_cart = backends(&[("cart", 1)]);
    let rules = [
        format!("matches: [{{path: {{value: /drill}}}}]\n{}\n{to_cart}", named("broken")),
        format!("matches: [{{path: {{value: /items}}}}]\n{}\n{to_cart}", named("calls")),
        to_cart.clone(),
    ];
    let broken = "fault: {abort: {percent: 100, status: 418, grpcStatus: DATA_LOSS}}";
    let calls = "rateLimit: {name: calls, requests: 2, period: 24h, keys: [{pathElement: 1}]}";
    let filters = [filter("broken", broken), filter("calls", calls)];
    let resources = [service("shop", &[]), service("cart", &[app.addr]), route("cart", &rules)];
    mesh.publish(&all(&[&resources[..], &filters].concat()));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let fetch =
        async |path: &str| client::fetch(shop.outbound, "cart", path).await.expect("the sidecar answers");
    let answer = fetch("/drill").await;
    assert_eq!((answer.status.as_u16(), answer.reason()), (418, "fault_injected"));
    let mut call = client::request2(Method::POST, "cart", "/drill", "");
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let answer = client::send(shop.outbound, call).await.unwrap();
    assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, "15"));
    assert_eq!(app.requests(), 0);
    for (path, status) in [("/", 200), ("/items/a", 200), ("/items/a", 429), ("/items/b", 200), ("/x/a", 200)]
    {
        assert_eq!(fetch(path).await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_a_grpc_route_exhausts_its_callers() {
    let (mesh, app) = (Mesh::new(), App::start("api").await);
    let route = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: api}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: api}}]\n  rules:\n  \
         - matches: [{{method: {{service: cart.v1.Cart}}}}]\n    {}\n    {}",
        named("calls"),
        backends(&[("api", 1)])
    );
    let calls = filter("calls", "rateLimit: {name: calls, requests: 1, period: 24h}");
    mesh.publish(&all(&[service("shop", &[]), service_of("api", "GRPC", &[app.addr]), route, calls]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let call = async || {
        let mut request = client::request2(Method::POST, "api", "/cart.v1.Cart/Get", "");
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        client::send(shop.outbound, request).await.expect("the sidecar answers")
    };
    assert_eq!(call().await.header("x-app"), "api");
    let refused = call().await;
    assert_eq!((refused.reason(), refused.header("grpc-status")), ("rate_limited", "8"));
    assert_eq!(app.requests(), 1);
}
