//! What must never be told is told nowhere: secrets are planted, and every page, every story and the log are searched for them.

use std::time::Duration;

use http::Method;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::{Authority, mesh_of};
use outrigger_integration_tests::{App, Mesh, Proxy, client, eventually, port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(20);
const TOKEN: &str = "tok-3f9a1c77e2";
const PASSWORD: &str = "pw-51b0aa94c6";
const AUTHORIZATION: &str = "bearer-8d2e60f71a";
const QUERY: &str = "query-c4417be09d";
const COOKIE: &str = "cookie-2b77d1905e";
const BODY: &str = "body-90fd3c21aa";

/// Pages that are read.
const PAGES: [&str; 14] = [
    "/",
    "/ready",
    "/live",
    "/healthz",
    "/metrics",
    "/config_dump",
    "/clusters",
    "/clusters?format=json",
    "/listeners",
    "/certs",
    "/stats",
    "/stats?format=json",
    "/server_info",
    "/debug/failures",
];

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_told_nowhere() {
    let (mesh, authority, app) = (Mesh::new(), Authority::new(), App::start("cart").await);
    let dead = port::free();
    let trust = mesh_of(&[&authority], "Disabled");
    let documents = [trust, service("shop", &[]), service("cart", &[app.addr]), service("away", &[dead])];
    mesh.publish(&all(&documents));
    let pair = authority.identify(mesh.folder(), "shop");
    let key = std::fs::read_to_string(&pair.key).expect("the key of the pair is there");
    let token = mesh.file(TOKEN);
    let store = format!("redis://user:{PASSWORD}@127.0.0.1:{}", dead.port());
    let report = format!("http://127.0.0.1:{}", dead.port());
    let sidecar = Sidecar::beside("shop").proving(&pair).with(&[
        "--rate-limit-store",
        &store,
        "--report",
        &report,
        "--report-token-file",
        &token.to_string_lossy(),
        "--log",
        "debug",
    ]);
    let shop = Proxy::start(&mesh, sidecar).await;
    shop.ready().await;
    let mut tap = TcpStream::connect(shop.admin).await.unwrap();
    let asked = format!("GET /debug/tap HTTP/1.1\r\nhost: {}\r\n\r\n", shop.admin);
    tap.write_all(asked.as_bytes()).await.unwrap();
    let mut watched = String::new();
    read_until(&mut tap, "\r\n\r\n", &mut watched).await;
    for host in ["cart", "away", "nobody"] {
        let mut request = client::request(Method::POST, host, &format!("/a?token={QUERY}"), BODY);
        for (name, value) in [("authorization", AUTHORIZATION), ("cookie", COOKIE)] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        client::send(shop.outbound, request).await.expect("it is answered");
    }
    let seen = app.last().expect("one came to the application");
    assert_eq!(seen.headers["authorization"], AUTHORIZATION, "traffic itself is left alone");
    read_until(&mut tap, "\"nobody\"", &mut watched).await;
    eventually(DEADLINE, "both failures are told of", async || {
        let page = client::page(shop.admin, "/debug/failures").await.ok()?.json();
        (page["found"] == 2).then_some(())
    })
    .await;
    let key_line = key.lines().nth(1).expect("a key has lines").to_owned();
    let mut told = vec![("the log".to_owned(), shop.process.log()), ("/debug/tap".to_owned(), watched)];
    for path in PAGES {
        let page = client::page(shop.admin, path).await.unwrap();
        assert!(page.status.is_success(), "{path}: {}", page.text());
        told.push((path.to_owned(), page.text()));
    }
    let certs = &told.iter().find(|(path, _)| path == "/certs").expect("it was read").1;
    assert!(certs.contains("URI:spiffe://") && certs.contains("\"role\": \"root\""), "{certs}");
    for (secret, what) in [
        (TOKEN, "the token of the API"),
        (PASSWORD, "the password of the store"),
        (AUTHORIZATION, "what authorises a client"),
        (QUERY, "the query"),
        (COOKIE, "a cookie"),
        (BODY, "a body"),
        (key_line.as_str(), "the private key"),
        ("PRIVATE KEY", "a private key"),
    ] {
        for (place, text) in &told {
            assert!(!text.contains(secret), "{place} tells {what}: {text}");
        }
    }
}

async fn read_until(stream: &mut TcpStream, end: &str, read: &mut String) {
    let reading = async {
        while !read.contains(end) {
            let mut bytes = vec![0; 4_096];
            let count = stream.read(&mut bytes).await.expect("the peer speaks");
            assert!(count > 0, "it ends: {read}");
            read.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("it comes");
}
