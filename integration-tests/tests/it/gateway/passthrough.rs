//! Connections that a gateway does not look into.

use super::*;

fn tls_route(service: &str, host: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {{name: {service}}}\nspec:\n  parentRefs: [{{name: edge}}]\n  \
         hostnames: ['{host}']\n  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]"
    )
}

#[tokio::test]
async fn tls_that_does_not_end_here_is_carried_by_its_host() {
    let (inner, mesh, app) = (Authority::new(), Mesh::new(), App::start("shop").await);
    let [outer, port] = [port::free().port(), port::free().port()];
    // Another gateway is the server of TLS behind the first.
    show(&mesh, &inner, "shop", &["shop.example.org"]);
    let behind =
        gateway(&[https("shop", port, "shop.example.org", "shop", "")]).replace("name: edge", "name: behind");
    let wild = format!(
        "{{name: wild, port: {outer}, hostname: '*.example.org', protocol: TLS, tls: {{mode: Passthrough}}}}"
    );
    let closed = format!(
        "{{name: closed, port: {outer}, hostname: 'closed.example.org', protocol: TLS, tls: {{mode: Passthrough}}}}"
    );
    let resources = [
        gateway(&[wild, closed]),
        behind,
        service("shop", &[app.addr]),
        route("shop", &[]).replace("parentRefs: [{name: edge}]", "parentRefs: [{name: behind}]"),
        crate::config::service_of("inner", "TLS", &[at(port)]),
        tls_route("inner", "*.example.org")
            .replace("parentRefs: [{name: edge}]", "parentRefs: [{name: edge, sectionName: wild}]"),
    ];
    mesh.publish(&all(&resources));
    let behind = Gateway::start(&mesh, "behind", &[]).await;
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    behind.ready().await;
    edge.ready().await;
    let answer = said(&curl(&mesh, &inner, "shop.example.org", outer, &[]).await);
    assert!(answer.contains("HTTP/2 200"), "{answer}");
    // The listener that is for it alone has no route; none is for the other.
    for host in ["closed.example.org", "other.test"] {
        let refused = said(&curl(&mesh, &inner, host, outer, &[]).await);
        assert!(!refused.contains("HTTP/2"), "{host}: {refused}");
    }
    edge.says(&["outrigger_connections_refused_total", "no_rule"], 2).await;
}

#[tokio::test]
async fn bytes_are_carried_to_the_service_of_a_tcp_route() {
    let (mesh, app, port) = (Mesh::new(), App::start("db").await, port::free().port());
    let tcp = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: db}\nspec:\n  parentRefs: [{name: edge}]\n  \
         rules: [{backendRefs: [{name: db, port: 80}]}]"
        .to_owned();
    let listener = format!("{{name: db, port: {port}, protocol: TCP}}");
    mesh.publish(&all(&[gateway(&[listener]), crate::config::service_of("db", "TCP", &[app.addr]), tcp]));
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    edge.ready().await;
    let answer = ask(port, "whatever", "/").await;
    assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "db"));
}

#[tokio::test]
async fn who_stands_in_front_says_for_whom_bytes_are_carried() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mesh, port) = (Mesh::new(), port::free().port());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        }
    });
    let db = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: db}}\nspec:\n  ports: [{{port: 80, protocol: TCP, \
         proxyProtocol: {{version: V1, writtenBy: Callers}}}}]\n  endpoints: {{static: [{{address: '{endpoint}'}}]}}"
    );
    let tcp = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: db}\nspec:\n  parentRefs: [{name: edge}]\n  \
         rules: [{backendRefs: [{name: db, port: 80}]}]"
        .to_owned();
    mesh.publish(&all(&[gateway(&[format!("{{name: db, port: {port}, protocol: TCP}}")]), db, tcp]));
    let edge = Gateway::start(&mesh, "edge", &["--proxy-protocol-from", "127.0.0.1"]).await;
    edge.ready().await;
    let ask = async |words: &[u8]| {
        let mut stream = tokio::net::TcpStream::connect(at(port)).await?;
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.map(|_| String::from_utf8_lossy(&back).into_owned())
    };
    let header = "PROXY TCP4 192.0.2.7 192.0.2.9 5 80\r\n";
    let said = ask(format!("{header}select 1").as_bytes()).await.unwrap();
    assert_eq!(said, format!("{header}select 1"), "once, and of the client");
    assert!(ask(b"select 1").await.is_err(), "who is to say it and does not is refused");
    edge.says(&["outrigger_connections_refused_total", "proxy_header"], 1).await;
    echo.abort();
}
