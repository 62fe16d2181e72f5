//! The page at `/`, and what it asks for. That people can use it, a browser proves in the end-to-end tests.

use serde_json::{Value, json};

use crate::support::{ControlPlane, Folder, SPLIT, http};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PARTS: [&str; 4] = ["/", "/dashboard/main.js", "/dashboard/style.css", "/dashboard/icon.svg"];

fn counting(node: &str, requests: u64) -> Value {
    json!({"node": node, "service": "default/shop", "version": "0.0.0", "running": null,
           "calls": ["default/cart:80"],
           "traffic": {"window_ms": 10_000, "bounds_us": [1_000, 10_000], "left_out": 0,
                       "clusters": [{"cluster": "default/cart:80", "direction": "outbound", "requests": requests,
                                     "failures": 1, "durations": [requests, 0, 0]}]},
           "failures": [{"id": node, "at_unix_ms": 5, "reason": "no_route", "sentence": "<script>", "service": "",
                         "route": ""}]})
}

#[tokio::test]
async fn the_overview_adds_up_what_proxies_report() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let (code, empty) = control_plane.fetch("/v1/overview").await;
    assert_eq!((code, &empty["services"], &empty["revision"]), (200, &json!([]), &Value::Null), "{empty}");
    control_plane.push(SPLIT, json!({})).await;
    control_plane.published(1).await;
    for node in ["a", "b"] {
        let (code, noted) = control_plane.post("/v1/reports", &counting(node, 50)).await;
        assert_eq!(code, 200, "{noted}");
    }
    let (_, overview) = control_plane.fetch("/v1/overview").await;
    let edge = &overview["edges"][0];
    assert_eq!((&edge["from"], &edge["to"]), (&json!("default/shop"), &json!("default/cart")), "{overview}");
    let figures = &edge["figures"];
    assert_eq!((&figures["rate"], &figures["success"]), (&json!(10.0), &json!(0.98)), "{figures}");
    assert_eq!((&figures["p50"]["ms"], &figures["proxies"]), (&json!(0.5), &json!(2)), "{figures}");
    assert_eq!(overview["failures"].as_array().map(Vec::len), Some(2), "{overview}");
    let backends = &overview["routes"][0]["rules"][0]["backends"];
    let shares: f64 = backends.as_array().unwrap().iter().filter_map(|one| one["share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{backends}");
}

#[tokio::test]
async fn more_than_a_report_may_carry_is_refused() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let mut report = counting("a", 1);
    let cluster = report["traffic"]["clusters"][0].clone();
    report["traffic"]["clusters"] = json!(vec![cluster; 65]);
    let (code, failure) = control_plane.post("/v1/reports", &report).await;
    assert_eq!((code, &failure["code"]), (422, &json!("report")), "{failure}");
}

#[tokio::test]
async fn the_page_needs_no_token_and_shows_nothing_without_it() {
    let folder = Folder::new();
    let token = folder.file("token", TOKEN);
    let control_plane = ControlPlane::start_with(&folder, "one", &["--token-file", &token]);
    for path in PARTS {
        let url = format!("{}{path}", control_plane.server());
        // With a token it may listen to the world, under any name.
        let answer = http().get(&url).header("host", "mesh.example").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let policy = header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        let said = answer.text().await.unwrap();
        let store = folder.store().display().to_string();
        assert!(!said.contains(TOKEN) && !said.contains(&store), "{path}");
    }
    let (code, failure) = control_plane.fetch("/v1/overview").await;
    assert_eq!((code, &failure["code"]), (401, &json!("unauthorised")));
}

#[tokio::test]
async fn without_a_token_the_page_answers_to_local_names_alone() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    for path in PARTS.iter().chain(&["/v1/overview"]) {
        let url = format!("{}{path}", control_plane.server());
        for (host, code) in [("evil.example", 403), ("localhost:15300", 200)] {
            let answer = http().get(&url).header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), code, "{path} {host}");
        }
    }
}
