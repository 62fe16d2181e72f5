//! Requests as they end, and what goes through a proxy: `outrigger tap`, `outrigger top`, `/listeners`.

use std::process::Stdio;
use std::time::Duration;

use http::{HeaderValue, Method};
use outrigger_integration_tests::mesh::{Sidecar, program, said};
use outrigger_integration_tests::{
    App, ControlPlane, Mesh, Process, Proxy, binaries, client, eventually, port,
};
use serde_json::{Value, json};

use crate::config::{all, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(20);

async fn site() -> (Mesh, App, Proxy) {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    let whole = format!("matches: [{{path: {{value: /}}}}]\n{}", backends(&[("cart", 1)]));
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr]), route("cart", &[whole])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (mesh, app, shop)
}

/// `outrigger tap` with these arguments, watching.
async fn tap(shop: &Proxy, arguments: &[&str]) -> Process {
    watching(&[shop], &[&["--proxy", &shop.admin.to_string()], arguments].concat()).await
}

/// `outrigger tap` with these arguments and no others, once it watches all of these.
async fn watching(proxies: &[&Proxy], arguments: &[&str]) -> Process {
    let mut command = program(binaries::outrigger());
    command.arg("tap").args(arguments);
    let watched = async || {
        let mut open = 0;
        for proxy in proxies {
            let page = client::page(proxy.admin, "/stats?filter=taps_open").await.ok()?;
            open += page.text().trim().rsplit(' ').next()?.parse::<usize>().ok()?;
        }
        Some(open)
    };
    let before = watched().await.unwrap_or_default();
    let process = Process::start("tap", &mut command);
    let all = before + proxies.len();
    eventually(DEADLINE, "it watches", async || (watched().await? >= all).then_some(())).await;
    process
}

fn lines(process: &Process) -> Vec<Value> {
    process.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

async fn ask(shop: &Proxy, method: Method, host: &str, path: &str) {
    client::send(shop.outbound, client::request(method, host, path, "")).await.expect("it is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_shown_as_they_end_to_those_who_ask_for_them() {
    let (_mesh, _app, shop) = site().await;
    let mut all = tap(&shop, &["--json", "--count", "3"]).await;
    let mut failed = tap(&shop, &["--json", "--reason", "no_host", "--count", "1"]).await;
    let mut of_route =
        tap(&shop, &["--route", "default/cart", "--method", "post", "--path", "/b", "--count", "1"]).await;
    ask(&shop, Method::GET, "cart", "/a?token=hush").await;
    ask(&shop, Method::POST, "cart:80", "/basket").await;
    ask(&shop, Method::GET, "nobody", "/").await;
    for process in [&mut all, &mut failed, &mut of_route] {
        assert!(process.ended(DEADLINE).await.success(), "{}", process.log());
    }
    let shown = lines(&all);
    let paths: Vec<_> = shown.iter().map(|line| line["url.path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/a", "/basket", "/"], "{}", all.log());
    assert_eq!((&shown[1]["server.address"], &shown[1]["server.port"]), (&"cart".into(), &80.into()));
    assert_eq!(shown[1]["outrigger.rule"], "default/cart#0");
    assert_eq!(shown[1]["outrigger.cluster"], "default/cart:80");
    assert_eq!(
        (&shown[0]["http.response.status_code"], &shown[0]["outrigger.tries"]),
        (&200.into(), &1.into())
    );
    assert!(!all.log().contains("hush"), "a query may hold secrets");
    assert_eq!(lines(&failed).len(), 1);
    assert_eq!(lines(&failed)[0]["http.response.status_code"], 404);
    let text = of_route.log();
    for part in
        ["200", "POST cart:80/basket", "outbound", "rule default/cart#0", "to default/cart:80 at 127.0.0.1:"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_told_and_nothing_waits() {
    let (_mesh, _app, shop) = site().await;
    let process = tap(&shop, &["--json", "--rate", "1"]).await;
    for _ in 0..20 {
        ask(&shop, Method::GET, "cart", "/").await;
    }
    process.says("beyond --rate").await;
    assert!(lines(&process).len() < 20, "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_order_with_ctrl_c_and_with_the_proxy() {
    let (_mesh, _app, mut shop) = site().await;
    let (mut interrupted, mut left) = (tap(&shop, &[]).await, tap(&shop, &[]).await);
    interrupted.interrupt();
    assert!(interrupted.ended(DEADLINE).await.success(), "{}", interrupted.log());
    shop.process.kill();
    assert!(left.ended(DEADLINE).await.success(), "{}", left.log());
    left.says("has gone").await;
    let mut command = program(binaries::outrigger());
    command.args(["tap", "--proxy", &shop.admin.to_string()]).stdin(Stdio::null());
    let out = command.output().expect("outrigger is built");
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
}

/// A report of a proxy that there is not, or that is elsewhere.
async fn say(control_plane: &ControlPlane, service: &str, node: &str, admin: Option<&str>) {
    let mut report = json!({ "node": node, "service": service, "version": "1" });
    report["admin"] = admin.map_or(Value::Null, Value::from);
    let authority = control_plane.api.to_string();
    let mut post = client::request(Method::POST, &authority, "/v1/reports", report.to_string());
    post.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    let taken = client::send(control_plane.api, post).await.expect("it is answered");
    assert_eq!(taken.status, 200, "{}", taken.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_report_are_watched_and_those_that_cannot_be_are_named() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    let control_plane = mesh.control_plane("one").await;
    control_plane
        .apply(&mesh, &all(&[service("shop", &[]), service("till", &[]), service("cart", &[app.addr])]));
    mesh.published().await;
    let server = format!("http://{}", control_plane.api);
    let folder = mesh.folder().join("reports");
    let to_folder = format!("file://{}", folder.display());
    let beside =
        |service: &str, node: &str, to: &str| Sidecar::beside(service).node(node).with(&["--report", to]);
    let shop = Proxy::start(&mesh, beside("shop", "s1", &server)).await;
    let till = Proxy::start(&mesh, beside("till", "t1", &server)).await;
    let apart = Proxy::start(&mesh, beside("shop", "s2", &to_folder)).await;
    for proxy in [&shop, &till, &apart] {
        proxy.ready().await;
    }
    let at = |proxy: &Proxy| proxy.admin.to_string();
    let closed = port::free().to_string();
    for (node, admin) in [("old", None), ("moved", Some(at(&shop))), ("gone", Some(closed.clone()))] {
        say(&control_plane, "default/other", node, admin.as_deref()).await;
    }
    // The control plane knows from where it was said.
    let everywhere = format!("0.0.0.0:{}", till.admin.port());
    say(&control_plane, "default/other", "open", Some(&everywhere)).await;
    let reported = eventually(DEADLINE, "all have reported", async || {
        let out = control_plane.outrigger(&mesh, "status", &["-o", "json"]);
        let status: Value = serde_json::from_slice(&out.stdout).ok()?;
        let proxies = status["proxies"].as_array()?.clone();
        (proxies.len() == 6).then_some(proxies)
    })
    .await;
    let admins: Vec<_> = reported.iter().map(|proxy| proxy["report"]["admin"].clone()).collect();
    let (of_shop, of_till) = (Value::from(at(&shop)), Value::from(at(&till)));
    let other = [closed.clone().into(), of_shop.clone(), Value::Null, of_till.clone()];
    assert_eq!(admins[..4], other, "gone, moved, old, open");
    assert_eq!(admins[4..], [of_shop, of_till]);

    let count = ["--all", "--server", &server, "--path", "/seen", "--count", "2"];
    let mut text = watching(&[&shop, &till], &count).await;
    let mut lines_of = watching(&[&shop, &till], &[&count[..], &["--json"]].concat()).await;
    for (proxy, path) in [(&shop, "/seen/1"), (&shop, "/unseen"), (&till, "/seen/2")] {
        ask(proxy, Method::GET, "cart", path).await;
    }
    for process in [&mut text, &mut lines_of] {
        assert!(process.ended(DEADLINE).await.success(), "{}", process.log());
    }
    let log = text.log();
    for (who, path) in [("default/shop s1  ", "/seen/1"), ("default/till t1  ", "/seen/2")] {
        assert!(log.lines().any(|line| line.starts_with(who) && line.contains(path)), "{who}: {log}");
    }
    for says in [
        "not watched: default/other old: it does not report where",
        &format!("not watched: default/other moved: at {} is default/shop s1; on loopback", at(&shop)),
        &format!("not watched: default/other gone: the proxy at http://{closed} doesn't answer"),
        &format!("not watched: default/other open: at {} is default/till t1", at(&till)),
    ] {
        assert!(log.contains(says), "{says}: {log}");
    }
    let mut who: Vec<_> = lines(&lines_of)
        .iter()
        .map(|line| ["outrigger.service", "outrigger.node", "url.path"].map(|name| line[name].clone()))
        .collect();
    who.sort_by_key(|who| who[1].to_string());
    assert_eq!(
        who,
        [["default/shop", "s1", "/seen/1"], ["default/till", "t1", "/seen/2"]]
            .map(|who| who.map(Value::from))
    );

    // Those of a folder need no control plane.
    let folder = folder.display().to_string();
    let mut alone = watching(&[&apart], &["--all", "--reports", &folder, "--count", "1"]).await;
    ask(&apart, Method::GET, "cart", "/").await;
    assert!(alone.ended(DEADLINE).await.success(), "{}", alone.log());
    assert!(alone.log().starts_with("default/shop s2  "), "{}", alone.log());
    // Nobody is left to be watched.
    let empty = mesh.folder().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.display().to_string();
    let out = mesh.outrigger(["tap", "--all", "--reports", empty.as_str()]);
    assert_eq!(
        (out.status.code(), said(&out).contains("no proxy reports")),
        (Some(1), true),
        "{}",
        said(&out)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_for_what_there_is_not() {
    let (mesh, _app, shop) = site().await;
    let admin = shop.admin.to_string();
    for (flag, value, says) in [
        ("--status", "6xx", "expected one like 503, 5xx, or none"),
        ("--reason", "no_such", "there is no reason \"no_such\""),
        ("--rate", "1000000", "expected a number from 1 to 5000"),
    ] {
        let out = mesh.outrigger(["tap", "--proxy", admin.as_str(), flag, value]);
        assert_eq!(out.status.code(), Some(1), "{}", said(&out));
        assert!(said(&out).contains(says), "{}", said(&out));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_prints_a_table_where_there_is_no_terminal() {
    let (mesh, app, shop) = site().await;
    ask(&shop, Method::GET, "cart", "/").await;
    let admin = shop.admin.to_string();
    let out = mesh.outrigger(["top", "--once", "--interval", "1", "--proxy", admin.as_str()]);
    let text = said(&out);
    assert!(out.status.success(), "{text}");
    let row = |of: &str| text.lines().find(|line| line.contains(of)).map(str::to_owned).unwrap_or_default();
    let words = |row: String| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(row("ROUTE").contains("P99") && row("ENDPOINT").contains("HEALTH"), "{text}");
    assert_eq!(words(row("default/cart#0"))[..4], ["default/cart#0", "outbound", "default/cart:80", "0.0"]);
    let endpoint = words(row(&app.addr.to_string()));
    assert_eq!(endpoint[..3], [app.addr.to_string(), "default/cart:80".to_owned(), "0.0".to_owned()]);
    assert!(text.contains("healthy"), "{text}");
    let out = mesh.outrigger(["top", "--once", "--proxy", "127.0.0.1:1"]);
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_tell_how_many_connections_they_have() {
    let (_mesh, _app, shop) = site().await;
    let connection = client::Connection::open(shop.outbound, http::Version::HTTP_11).await.unwrap();
    let outbound = shop.outbound.to_string();
    let listener = async || {
        let page = client::page(shop.admin, "/listeners?format=json").await.ok()?.json();
        page.as_array()?.iter().find(|listener| listener["address"] == outbound.as_str()).cloned()
    };
    eventually(DEADLINE, "the connection is counted", async || {
        let listener = listener().await?;
        let told = (&listener["name"], &listener["direction"], &listener["state"]);
        assert_eq!(told, (&"outbound".into(), &"outbound".into(), &"listening".into()));
        (listener["connections"] == 1 && listener["accepted"] == 1).then_some(())
    })
    .await;
    drop(connection);
    eventually(DEADLINE, "and its end", async || (listener().await?["connections"] == 0).then_some(())).await;
    let text = client::page(shop.admin, "/listeners").await.unwrap().text();
    for name in ["admin", "metrics"] {
        assert!(text.lines().any(|line| line.starts_with(name) && line.contains("own  listening")), "{text}");
    }
}
