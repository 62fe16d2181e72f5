//! What proxies say, and what people see of it.

use serde_json::{Value, json};

use crate::support::{ControlPlane, Folder, SPLIT, succeeded};

fn report(node: &str, running: Value) -> Value {
    json!({"node": node, "service": "default/cart", "version": "0.0.0", "running": running, "since_unix_ms": 1,
           "refusals": 0, "last_refusal": null, "quarantined": []})
}

#[tokio::test]
async fn reports_are_counted_against_the_newest_release() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(SPLIT, json!({})).await;
    let release = control_plane.published(1).await;
    let (_, status) = control_plane.fetch("/v1/status").await;
    let running =
        |n: u64| json!({"epoch": status["release"]["epoch"], "n": n, "policy": "ab", "facts": "cd"});
    for (node, running) in [("a", running(release)), ("b", running(release - 1)), ("c", Value::Null)] {
        let (code, noted) = control_plane.post("/v1/reports", &report(node, running)).await;
        assert_eq!(code, 200, "{noted}");
    }
    let (code, failure) = control_plane.post("/v1/reports", &report("", Value::Null)).await;
    assert_eq!((code, &failure["code"]), (422, &json!("report")), "{failure}");
    let (_, status) = control_plane.fetch("/v1/status").await;
    let coverage = &status["coverage"];
    assert_eq!(
        (&coverage["reporting"], &coverage["current"], &coverage["behind"], &coverage["without_plan"]),
        (&json!(3), &json!(1), &json!(1), &json!(1))
    );
    let table = succeeded(&control_plane.outrigger("status", &[]));
    assert!(table.contains("3 reporting, 1 current, 1 behind, 1 without a plan"), "{table}");
    assert!(table.lines().any(|line| line.contains("default/cart") && line.ends_with("current")), "{table}");
    assert_eq!(control_plane.metric("proxies").await, 3);
}

#[tokio::test]
async fn a_report_that_is_too_large_is_not_read() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let large = report(&"x".repeat(100_000), Value::Null);
    let (code, failure) = control_plane.post("/v1/reports", &large).await;
    assert_eq!((code, &failure["code"]), (413, &json!("unreadable")), "{failure}");
}
