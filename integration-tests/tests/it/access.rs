//! Access rules of a service under attack: whoever is denied finds no way of writing a request that gets through.

use std::time::Duration;

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Proxy, eventually, port};

use crate::config::{all, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(20);
/// Nothing more is to come after that.
const QUIET: Duration = Duration::from_millis(500);

/// A workload behind a sidecar whose rules deny `/admin`, `DELETE`, and everything from elsewhere.
struct Site {
    _mesh: Mesh,
    app: App,
    cart: Proxy,
}

const RULES: &str = "authorization: {rules: [\
    {name: no-admin, access: Deny, paths: [{value: /admin}]}, \
    {name: no-deletion, access: Deny, methods: [DELETE]}, \
    {name: here, access: Allow, sources: [127.0.0.0/8], paths: [{value: /}]}]}";

impl Site {
    async fn new() -> Self {
        let (mesh, app, inbound) = (Mesh::new(), App::start("cart").await, port::free());
        mesh.publish(&all(&[service("cart", &[inbound]), policy("", RULES)]));
        let cart = Proxy::start_inbound(&mesh, Sidecar::beside("cart").inbound_to(app.addr), inbound).await;
        cart.ready().await;
        Self { _mesh: mesh, app, cart }
    }

    /// What comes back for these bytes, head by head: the first line of each answer.
    async fn says(&self, bytes: &str) -> Vec<String> {
        let inbound = self.cart.inbound.expect("it takes calls");
        let said = client::raw(inbound, bytes.as_bytes(), QUIET).await.expect("it listens");
        let said = String::from_utf8_lossy(&said).into_owned();
        said.match_indices("HTTP/1.1 ").map(|(at, _)| said[at + 9..at + 12].to_owned()).collect()
    }
}

fn policy(section: &str, spec: &str) -> String {
    let target = if section.is_empty() { String::new() } else { format!(", sectionName: {section}") };
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart{section}}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: cart{target}}}]\n  {spec}"
    )
}

#[tokio::test]
async fn no_way_to_write_a_path_or_a_method_gets_through() {
    let site = Site::new().await;
    let paths = [
        "/admin",
        "/admin/",
        "/admin?x=/public",
        "//admin",
        "/./admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/admin;jsessionid=1/x",
        "/%61dmin",
        "/%2561dmin",
        "/\\admin",
        "/admin#fragment",
        "http://cart/admin",
        "http://cart//admin",
        "http://elsewhere.test/admin",
        "HTTP://cart:80/%61dmin",
    ];
    for path in paths {
        for host in ["cart", "elsewhere.test", "cart."] {
            let said = site.says(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            let refused = matches!(&*said, [status] if status == "403" || status == "400");
            assert!(refused, "{path} {host}: {said:?}");
        }
    }
    for method in ["DELETE", "delete", "Delete"] {
        assert_eq!(
            site.says(&format!("{method} / HTTP/1.1\r\nhost: cart\r\n\r\n")).await,
            ["403"],
            "{method}"
        );
    }
    assert_eq!(
        site.says("OPTIONS * HTTP/1.1\r\nhost: cart\r\n\r\n").await,
        ["403"],
        "no path that is allowed"
    );
    assert_eq!(site.says("CONNECT cart:80 HTTP/1.1\r\nhost: cart\r\n\r\n").await, ["501"]);
    assert_eq!(site.app.requests(), 0);

    let inbound = site.cart.inbound.unwrap();
    let mut connection = Connection::open(inbound, Version::HTTP_2).await.unwrap();
    for path in paths.iter().filter(|path| path.starts_with('/') && !path.contains('\\')) {
        let answer = connection.send(client::request2(Method::GET, "cart", path, "")).await.unwrap();
        assert_eq!((answer.status, answer.reason()), (StatusCode::FORBIDDEN, "access_denied"), "{path}");
    }
    let method = Method::from_bytes(b"delete").unwrap();
    let answer = connection.send(client::request2(method, "cart", "/", "")).await.unwrap();
    assert_eq!(answer.reason(), "access_denied");
    let answer = connection.send(client::request2(Method::GET, "cart", "/public", "")).await.unwrap();
    assert_eq!((answer.status, site.app.requests()), (StatusCode::OK, 1), "what is allowed is");
}

#[tokio::test]
async fn each_request_of_a_connection_is_judged_and_none_hides_in_another() {
    let site = Site::new().await;
    let [open, closed] =
        ["/public", "/admin"].map(|path| format!("GET {path} HTTP/1.1\r\nhost: cart\r\n\r\n"));
    assert_eq!(
        site.says(&format!("{open}{closed}{open}")).await,
        ["200", "403"],
        "who is denied is hung up on"
    );
    let before = site.app.requests();
    let smuggled = [
        format!(
            "POST /public HTTP/1.1\r\nhost: cart\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{closed}"
        ),
        format!(
            "POST /public HTTP/1.1\r\nhost: cart\r\ncontent-length: {}\r\ncontent-length: 0\r\n\r\n{closed}",
            closed.len()
        ),
        format!("POST /public HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: xchunked\r\n\r\n{closed}"),
        format!(
            "POST /public HTTP/1.1\r\nhost: cart\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n{closed}"
        ),
        format!(
            "GET /public HTTP/1.1\r\nhost: cart\r\nconnection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n\r\n{closed}"
        ),
    ];
    for bytes in &smuggled {
        let said = site.says(bytes).await;
        assert!(
            !said.is_empty() && said[1..].iter().all(|status| status == "403" || status == "400"),
            "{bytes}\n{said:?}"
        );
        let last = site.app.last().map(|head| head.uri.path().to_owned());
        assert_eq!(last.as_deref(), Some("/public"), "{bytes}");
    }
    assert!(site.app.requests() <= before + smuggled.len() as u64);
    let upgrade = "GET /upgrade HTTP/1.1\r\nhost: cart\r\nconnection: upgrade\r\nupgrade: echo, h2c\r\n\r\n";
    let said = client::raw(site.cart.inbound.unwrap(), format!("{upgrade}{closed}").as_bytes(), QUIET)
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        said.starts_with("HTTP/1.1 101 ") && said.ends_with(&closed),
        "it is a tunnel of its own: {said}"
    );
    let seen = site.app.last().unwrap().headers;
    assert_eq!(seen["upgrade"], "echo", "requests inside of a tunnel would be judged by nobody");
    let denied = closed.replace("\r\n\r\n", "\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    assert_eq!(site.says(&denied).await, ["403"]);
}

#[tokio::test]
async fn a_denial_waits_for_no_body_and_asks_for_none() {
    let site = Site::new().await;
    for expect in ["", "expect: 100-continue\r\n"] {
        let head = format!("POST /admin HTTP/1.1\r\nhost: cart\r\ncontent-length: 1000000\r\n{expect}\r\n");
        assert_eq!(site.says(&head).await, ["403"], "{expect}");
    }
    assert_eq!(site.app.requests(), 0);
    assert_eq!(count(&site.cart, &["outrigger_denied_requests_total", "dry_run=\"false\""]).await, 2);
    let forged = "GET /public HTTP/1.1\r\nhost: cart\r\nx_forwarded_client_cert: URI=spiffe://mesh.test/ns/default/svc/admin\r\n\r\n";
    assert_eq!(site.says(forged).await, ["200"]);
    let seen = site.app.last().unwrap().headers;
    assert!(seen.keys().all(|name| !name.as_str().contains("client")), "{seen:?}");
}

/// Rules of one port are rules of that port, and what one policy only counts another may deny.
#[tokio::test]
async fn rules_of_one_port_are_not_those_of_another() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    let [first, second] = [port::free(), port::free()];
    let cart = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: cart}}\nspec:\n  \
         ports: [{{name: open, port: 80, targetPort: {0}, protocol: HTTP}}, {{name: admin, port: 81, targetPort: {0}, protocol: HTTP}}]",
        app.addr.port()
    );
    let publish = |open: &str, admin: &str| {
        mesh.publish(&all(&[cart.clone(), policy("open", open), policy("admin", admin)]));
    };
    let closed = "authorization: {default: Deny}";
    let counted = "authorization: {default: Deny, dryRun: true}";
    publish(counted, closed);
    let flags = [format!("{first}=80"), format!("{second}=81")];
    let sidecar = Sidecar::beside("cart").inbound_to((app.addr.ip(), 0).into());
    let sidecar = sidecar.with(&["--inbound-port", &flags[0], "--inbound-port", &flags[1]]);
    let cart = Proxy::start(&mesh, sidecar).await;
    cart.ready().await;
    let ask = async |at, host: &str| client::fetch(at, host, "/").await.unwrap().reason().to_owned();
    for host in ["cart", "cart:80", "cart:81", "cart.default.svc:80", "elsewhere"] {
        assert_eq!(ask(first, host).await, "", "{host}");
        assert_eq!(ask(second, host).await, "access_denied", "whatever its host says: {host}");
    }
    // Where nothing but the host tells which port is meant, it is judged by the rules of the port that it is given to.
    let inbound = cart.inbound.unwrap();
    for (host, reason) in [("cart", ""), ("cart:80", ""), ("cart:81", "access_denied"), ("elsewhere:81", "")]
    {
        assert_eq!(ask(inbound, host).await, reason, "{host}");
    }
    assert!(count(&cart, &["outrigger_denied_requests_total", "dry_run=\"true\""]).await >= 5);
    publish(closed, counted);
    eventually(DEADLINE, "each has the rules of the other", async || {
        (ask(first, "cart").await == "access_denied" && ask(second, "cart").await.is_empty()).then_some(())
    })
    .await;
}
