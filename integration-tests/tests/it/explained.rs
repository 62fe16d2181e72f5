//! `outrigger explain` of what runs, ran or would run, and `outrigger diff --traffic`.

use std::fmt::Write as _;

use http::Method;
use outrigger_integration_tests::mesh::said;
use outrigger_integration_tests::{App, Mesh, client};

use crate::config::{all, backend_policy, backends, route, service};

const CANARY: &str = "matches: [{path: {value: /api}, headers: [{name: x-canary, value: 'yes'}]}]";
const POSTS: &str = "matches: [{path: {value: /api}, method: POST}]";
const WHOLE: &str = "matches: [{path: {value: /api}}]";

fn resources(at: &[std::net::SocketAddr], weights: &[(&str, u32)], rules: usize) -> String {
    let rules = [CANARY, POSTS, WHOLE]
        .into_iter()
        .take(rules)
        .map(|matches| format!("{matches}\n{}", backends(weights)));
    let rules: Vec<String> = rules.collect();
    let named = |name| service(name, at);
    all(&[service("shop", &[]), named("cart"), named("v1"), named("v2"), route("cart", &rules)])
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_told_of_what_runs_ran_and_would_run() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    mesh.publish(&resources(&[app.addr], &[("v1", 1)], 3));
    mesh.publish(&resources(&[app.addr], &[("v2", 1)], 3));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let (store, admin) = (mesh.store().display().to_string(), shop.admin.to_string());
    let file = mesh.file(&resources(&[app.addr], &[("v1", 9), ("v2", 1)], 3)).display().to_string();
    let explain = |further: &[&str]| {
        let out = mesh.outrigger([&["explain", "GET", "http://cart/api/1"], further].concat());
        (out.status.code(), said(&out))
    };
    for (further, to, from) in [
        (&["--proxy", admin.as_str()][..], "default/v2:80, 100.0 %", "which runs release 2"),
        (&["--store", &store, "--service", "shop"], "default/v2:80, 100.0 %", "release 2 of"),
        (
            &["--store", &store, "--service", "shop", "--version", "1"],
            "default/v1:80, 100.0 %",
            "release 1 of",
        ),
        (
            &["--store", &store, "--service", "shop", "--at", "0s ago"],
            "default/v2:80, 100.0 %",
            "release 2 of",
        ),
        (&["-f", &file, "--service", "shop"], "default/v1:80, 90.0 %", "by these files"),
    ] {
        let (code, text) = explain(further);
        assert_eq!(code, Some(0), "{text}");
        for part in [
            to,
            from,
            "tried        default/cart#1: path below /api, method is POST (not met: the method is GET)",
            "(not met: there is no header x-canary)",
            "rule         default/cart#2",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let place = |part| text.find(part).expect("checked above");
        assert!(place("default/cart#1:") < place("default/cart#0:"), "a method counts for more: {text}");
    }
    for (further, code, says) in [
        (
            &["--store", &store, "--service", "shop", "--version", "9"][..],
            1,
            "has no release 9; it keeps 1 to 2",
        ),
        (
            &["--store", &store, "--service", "shop", "--at", "2001-01-01T00:00:00Z"],
            1,
            "in force at 2001-01-01T00:00:00Z",
        ),
        (&["--store", &store, "--service", "shop", "--at", "noon"], 2, "is no time"),
        (&["--proxy", &admin, "--service", "cart"], 1, "stands beside default/shop, not default/cart"),
        (&["-f", &file, "--version", "1"], 2, "are about a store"),
        (&["--proxy", "127.0.0.1:1"], 3, "doesn't answer"),
    ] {
        let (found, text) = explain(further);
        assert_eq!((found, text.contains(says)), (Some(code), true), "{text}");
    }
    let out = mesh.outrigger(["explain", "GET", "http://cart/other", "--proxy", admin.as_str()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        said(&out).contains("default/cart#2: path below /api (not met: the path is /other)"),
        "{}",
        said(&out)
    );
}

/// A log as proxies write it: so many lines for each of these paths.
fn log(lines: &[(&str, &str, &str, u32)]) -> String {
    let mut text = String::new();
    for (method, path, further, count) in lines {
        for number in 0..*count {
            writeln!(
                text,
                r#"{{"timestamp":{number},"http.request.method":"{method}","server.address":"cart","url.path":"{path}"{further}}}"#
            )
            .expect("a String takes every write");
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_routed_by_two_versions() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    let at = [app.addr];
    mesh.publish(&resources(&at, &[("v1", 1), ("v2", 1)], 3));
    mesh.publish_shrunk(&resources(&at, &[("v1", 2), ("v2", 2)], 2));
    let (store, control) = (mesh.store().display().to_string(), mesh.control_plane("control").await);
    let canary = r#","http.request.header.x-canary":["yes"]"#;
    let inbound = r#","outrigger.direction":"inbound""#;
    let mut text = log(&[
        ("GET", "/api/1", "", 5),
        ("GET", "/api/2", canary, 3),
        ("POST", "/api/3", "", 2),
        ("GET", "/api/4", inbound, 4),
    ]);
    text.push_str("no JSON\n\n{\"server.address\":\"cart\"}\n");
    let traffic = mesh.file(&text).display().to_string();
    let diff = |further: &[&str]| {
        let fixed = ["diff", "--traffic", &traffic, "--service", "shop", "--exit-code"];
        let out = mesh.outrigger([&fixed[..], further].concat());
        (out.status.code(), said(&out))
    };
    // The shares are the same, whatever the weights: only what met the last rule meets none.
    let (code, said) = diff(&["--store", &store, "--from", "1", "--to", "2"]);
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "5 of 10 requests change (50.00 %)",
        "  5 become 404",
        "- default/cart#2 to default/v1:80 50.0 %, default/v2:80 50.0 %\n+ nowhere: no rule matches",
        "  line 1: GET cart/api/1",
        "2 lines are no requests, the first is line 15: ",
        "4 calls to the workload are left out",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        !said.contains("line 4:") && !said.contains("other backends"),
        "three examples are enough: {said}"
    );
    // The other way, and with files on top of what is published.
    let (code, said) = diff(&["--store", &store, "--from", "2", "--to", "1"]);
    assert_eq!((code, said.contains("5 are 404 no more")), (Some(1), true), "{said}");
    let one =
        mesh.file(&route("cart", &[format!("{CANARY}\n{}", backends(&[("v1", 1)]))])).display().to_string();
    let server = format!("http://{}", control.api);
    for place in [["--store", &store], ["--server", &server]] {
        let (code, said) = diff(&[&place[..], &["-f", &one]].concat());
        assert_eq!(code, Some(1), "{said}");
        for part in [
            "5 of 10 requests change",
            "  2 become 404",
            "  3 go to other backends",
            "+ default/cart#0 to default/v1:80\n",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    // What policies say of a backend counts like what rules say.
    let patient = mesh.file(&backend_policy("v1", "timeouts: {request: 7s}")).display().to_string();
    let (code, said) = diff(&["--store", &store, "-f", &patient]);
    assert_eq!(
        (code, said.contains("  5 get other filters, timeouts or retries")),
        (Some(1), true),
        "{said}"
    );
    // A log of somebody else says nothing.
    let foreign = mesh.file(&log(&[("GET", "/", "", 2)]).replace("cart", "nobody")).display().to_string();
    let out =
        mesh.outrigger(["diff", "--traffic", &foreign, "--service", "shop", "--store", &store, "--to", "2"]);
    let nowhere = "2 of 2 requests are 404 in both versions, so that nothing is known of them";
    assert!(outrigger_integration_tests::mesh::said(&out).contains(nowhere));
    let (code, said) = diff(&["--store", &store, "--from", "2", "--to", "2"]);
    assert_eq!((code, said.contains("0 of 10 requests change (0.00 %)")), (Some(0), true), "{said}");
    let bad = mesh.file("nothing\n").display().to_string();
    let out =
        mesh.outrigger(["diff", "--traffic", &bad, "--service", "shop", "--store", &store, "--to", "1"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        outrigger_integration_tests::mesh::said(&out)
            .contains("has no request: 1 lines are no requests, the first is line 1")
    );
}

/// What `tap` prints, `diff --traffic` reads.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_tapped_is_routed_again() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    mesh.publish(&resources(&[app.addr], &[("v1", 1)], 3));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let (store, admin) = (mesh.store().display().to_string(), shop.admin.to_string());
    let tapped = async {
        let mut command = tokio::process::Command::new(outrigger_integration_tests::binaries::outrigger());
        command.args(["tap", "--json", "--count", "1", "--proxy", &admin]).kill_on_drop(true);
        command.output().await.expect("outrigger is built")
    };
    let asks = async {
        loop {
            client::send(shop.outbound, client::request(Method::GET, "cart", "/api/1", "")).await.unwrap();
        }
    };
    let out = tokio::select! {
        out = tapped => out,
        () = asks => unreachable!("it asks for ever"),
    };
    let traffic = mesh.file(&String::from_utf8_lossy(&out.stdout)).display().to_string();
    let out =
        mesh.outrigger(["diff", "--traffic", &traffic, "--service", "shop", "--store", &store, "--to", "1"]);
    assert!(said(&out).contains("0 of 1 requests change"), "{}", said(&out));
}
