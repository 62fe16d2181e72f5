//! What a gateway does about what comes to it: who may come in, how often, and what it matters.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn policy(section: &str, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: {section}}}\nspec:\n  \
         targetRefs: [{{kind: Gateway, name: edge, sectionName: {section}}}]\n  {spec}"
    )
}

const DENIED: &str = "outrigger_denied_requests_total";

#[tokio::test]
async fn a_gateway_lets_in_whom_its_rules_let_in_before_it_reads_a_body() {
    let (mesh, shop, port) = (Mesh::new(), App::start("shop").await, port::free().port());
    let resources = |spec: &str| {
        let around =
            [gateway(&[http("web", port)]), service("shop", &[shop.addr]), route("shop", &["shop.test"])];
        all(&[around.as_slice(), &[policy("web", spec)]].concat())
    };
    mesh.publish(&resources(
        "authorization: {rules: [\
         {name: no-admin, access: Deny, paths: [{value: /admin}]}, \
         {name: no-writes, access: Deny, methods: [DELETE]}, \
         {name: home, access: Allow, sources: [127.0.0.0/8, '::1']}]}",
    ));
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    edge.ready().await;
    assert_eq!(ask(port, "shop.test", "/").await.status, StatusCode::OK);
    for path in ["/admin", "/x/..;/admin", "/%61dmin", "//admin", "/admin/nobody/routes/this"] {
        let answer = ask(port, "shop.test", path).await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::FORBIDDEN, "access_denied"), "{path}");
        assert!(answer.text().contains("no-admin"), "{}", answer.text());
    }
    // A body that never comes, and one that waits to be asked for.
    let head =
        "POST /admin HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 100000\r\nexpect: 100-continue\r\n\r\n";
    let answer = client::raw(at(port), head.as_bytes(), DEADLINE).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let request = client::request(Method::DELETE, "shop.test", "/", "");
    assert_eq!(client::send(at(port), request).await.unwrap().status, StatusCode::FORBIDDEN);
    assert_eq!(shop.requests(), 1);
    edge.says(&[DENIED, "dry_run=\"false\""], 7).await;
    edge.says(&[DENIED, "dry_run=\"true\""], 0).await;

    // From elsewhere nobody may: at first it is only counted.
    let elsewhere = "rules: [{name: office, access: Allow, sources: [10.0.0.0/8]}]";
    mesh.publish(&resources(&format!("authorization: {{dryRun: true, {elsewhere}}}")));
    eventually(DEADLINE, "what would be denied is let through", async || {
        (ask(port, "shop.test", "/admin").await.status == StatusCode::OK).then_some(())
    })
    .await;
    edge.says(&[DENIED, "dry_run=\"true\""], 1).await;
    mesh.publish(&resources(&format!("authorization: {{{elsewhere}}}")));
    eventually(DEADLINE, "then it is denied", async || {
        (ask(port, "shop.test", "/").await.reason() == "access_denied").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_requests_of_a_listener_are_counted_together_and_say_how_much_they_matter() {
    let (mesh, port, free) = (Mesh::new(), port::free().port(), port::free().port());
    let (shop, blog) = (App::start("shop").await, App::start("blog").await);
    mesh.publish(&all(&[
        gateway(&[http("web", port), http("free", free)]),
        service("shop", &[shop.addr]),
        service("blog", &[blog.addr]),
        route("shop", &["shop.test"]),
        route("blog", &["blog.test"]),
        policy(
            "web",
            "rateLimits: [{name: calls, requests: 2, burst: 2, period: 24h, keys: [{source: true}]}]\n  \
             priorities: [{priority: 0, paths: [{value: /checkout}]}, {priority: 3, sources: [127.0.0.1]}]",
        ),
    ]));
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    edge.ready().await;
    for (path, priority) in [("/checkout", "0"), ("/", "3")] {
        let mut request = client::request(Method::GET, "shop.test", path, "");
        request.headers_mut().insert("outrigger-priority", HeaderValue::from_static("1"));
        assert_eq!(client::send(at(port), request).await.unwrap().status, StatusCode::OK);
        assert_eq!(shop.last().unwrap().headers["outrigger-priority"], priority, "{path}");
    }
    for host in ["blog.test", "shop.test"] {
        let answer = ask(port, host, "/").await;
        assert_eq!(
            (answer.status, answer.reason()),
            (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            "{host}"
        );
        assert_eq!(ask(free, host, "/").await.status, StatusCode::OK, "the policy is for one listener");
    }
    let scope = "rule=\"Gateway default/edge/web\"";
    edge.says(&["outrigger_rate_limit_decisions_total", scope, "refused"], 2).await;
    assert_eq!((shop.requests(), blog.requests()), (3, 1));
}

#[tokio::test]
async fn a_connection_is_let_in_by_the_address_that_it_comes_from() {
    let (mesh, app, port) = (Mesh::new(), App::start("db").await, port::free().port());
    let tcp = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: db}\nspec:\n  parentRefs: [{name: edge}]\n  \
         rules: [{backendRefs: [{name: db, port: 80}]}]";
    let resources = |spec: &str| {
        let listener = format!("{{name: sql, port: {port}, protocol: TCP}}");
        let db = crate::config::service_of("db", "TCP", &[app.addr]);
        all(&[gateway(&[listener]), db, tcp.to_owned(), policy("sql", spec)])
    };
    let from = |network: &str| format!("rules: [{{name: some, access: Allow, sources: [{network}]}}]");
    mesh.publish(&resources(&format!("authorization: {{{}}}", from("10.0.0.0/8"))));
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    edge.ready().await;
    let refused = async {
        let mut stream = tokio::net::TcpStream::connect(at(port)).await?;
        // It may be reset before or after this.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: db\r\n\r\n").await;
        stream.read_u8().await
    };
    let refused = refused.await;
    assert!(matches!(&refused, Err(error) if error.kind() == ErrorKind::ConnectionReset), "{refused:?}");
    edge.says(&["outrigger_connections_refused_total", "access_denied"], 1).await;
    edge.says(&["outrigger_denied_connections_total", "dry_run=\"false\""], 1).await;
    for spec in [
        format!("authorization: {{dryRun: true, {}}}", from("10.0.0.0/8")),
        format!("authorization: {{{}}}", from("127.0.0.1")),
    ] {
        mesh.publish(&resources(&spec));
        eventually(DEADLINE, "it is let in", async || {
            (client::fetch(at(port), "db", "/").await.ok()?.status == StatusCode::OK).then_some(())
        })
        .await;
    }
}
