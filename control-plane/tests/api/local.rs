//! The command line without a control plane.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Folder, SPLIT, failed, outrigger, outrigger_reading, service, succeeded};

#[test]
fn publishing_makes_a_mesh_once_and_says_so() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let file = folder.file("split.yaml", SPLIT);
    let first = outrigger(&["publish", "--store", &store, "-f", &file]);
    let said = succeeded(&first);
    assert!(
        said.contains("revision 1\nrelease 1 published; proxies trust it with --trust-key ed25519:"),
        "{said}"
    );
    let notes = String::from_utf8(first.stderr).unwrap();
    assert!(notes.contains("made a new mesh in") && notes.contains("store.key"), "{notes}");
    let key = std::fs::metadata(folder.path().join("store.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    let again = outrigger(&["publish", "--store", &store, "-f", &file]);
    assert_eq!(succeeded(&again), "nothing changed: release 1 of revision 1 has this already\n");
    assert!(again.stderr.is_empty());
    let other = folder.file("other.yaml", &service("other", 1));
    let refused = failed(&outrigger(&["publish", "--store", &store, "-f", &other]), 1);
    assert!(refused.contains("--allow-shrink"), "{refused}");
    let replaced = succeeded(&outrigger(&["publish", "--store", &store, "-f", &other, "--allow-shrink"]));
    assert!(
        replaced.contains("removed HTTPRoute default/cart") && replaced.contains("release 2 published"),
        "{replaced}"
    );
    let shown: Value =
        serde_json::from_str(&succeeded(&outrigger(&["snapshot", "inspect", &store]))).unwrap();
    assert_eq!((&shown["release"], &shown["revision"]), (&json!(2), &json!(2)));
}

#[test]
fn a_refused_publish_leaves_nothing() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let wrong = SPLIT.replace("name: cart-v2, port", "name: cart-v3, port");
    let said = failed(&outrigger_reading(&["publish", "--store", &store, "-f", "-"], &wrong), 1);
    assert!(said.contains("<stdin>:25:") && said.contains("did you mean \"cart-v2\"?"), "{said}");
    assert!(!folder.store().exists());
    assert!(!folder.path().join("store.key").exists());
}

#[test]
fn validating_needs_no_server() {
    let folder = Folder::new();
    folder.file("split.yaml", SPLIT);
    folder.file("notes.txt", "not a resource");
    let all = folder.path().display().to_string();
    assert_eq!(succeeded(&outrigger(&["validate", "-f", &all])), "valid: 3 resources, 2 scopes\n");
    assert!(succeeded(&outrigger_reading(&["validate", "-f", "-"], SPLIT)).starts_with("valid"));
    folder.file("wrong.yaml", "kind: Service\n");
    failed(&outrigger(&["validate", "-f", &all]), 1);
    failed(&outrigger(&["validate", "-f", "/nonexistent"]), 1);
    failed(&outrigger(&["validate"]), 2);
    failed(&outrigger(&["status", "--server", "http://127.0.0.1:9"]), 3);
    failed(&outrigger(&["explain", "GET", "http://cart/", "--store", "/nonexistent"]), 3);
}

#[test]
fn explaining_runs_the_router() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let file = folder.file("split.yaml", SPLIT);
    let by_files = succeeded(&outrigger(&["explain", "GET", "http://cart/checkout?x=1", "-f", &file]));
    for part in [
        "rule         default/cart#0 (HTTPRoute default/cart)",
        "cluster      default/cart:80, 90.0 % (weight 90 of 100)",
        "cluster      default/cart-v2:80, 10.0 % (weight 10 of 100)",
        "  endpoints  127.0.0.1:9002",
        "request 10s, try 2s (HTTPRoute default/cart); connect 1s, first byte 1m",
        "peak EWMA (default)",
    ] {
        assert!(by_files.contains(part), "no {part:?} in:\n{by_files}");
    }
    succeeded(&outrigger(&["publish", "--store", &store, "-f", &file]));
    let by_store = succeeded(&outrigger(&["explain", "GET", "http://cart/checkout?x=1", "--store", &store]));
    let after_origin = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(after_origin(&by_store), after_origin(&by_files));
    let narrow = folder.file("narrow.yaml", &SPLIT.replace("value: /}", "value: /api}, method: GET"));
    for (url, part) in [
        ("http://cart/", "no rule of default/cart matches GET /"),
        ("http://cart:81/api", "default/cart has no HTTP port 81; it has 80"),
        ("http://nobody/", "no service is called by the host \"nobody\""),
    ] {
        let said = failed(&outrigger(&["explain", "GET", url, "-f", &narrow]), 1);
        assert!(said.contains(part), "{said}");
    }
    succeeded(&outrigger(&["explain", "GET", "http://cart.default.svc/api/x", "-f", &narrow]));
    failed(&outrigger(&["explain", "POST", "http://cart/api", "-f", &narrow]), 1);
    failed(&outrigger(&["explain", "GET", "http://", "-f", &narrow]), 2);
}

/// A mesh whose values come from five places.
const LAYERED: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: cart}, spec: {ports: [{name: http, port: 80, protocol: HTTP}, \
{name: grpc, port: 90, protocol: GRPC}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: shop}, spec: {parentRefs: [{group: '', kind: Service, \
name: cart, port: 80}], rules: [{timeouts: {request: 10s}, retry: {codes: [500], backoff: 1s}, backendRefs: [{name: cart, port: 80}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: shop}, spec: {parentRefs: [{group: '', kind: Service, \
name: cart}], rules: [{matches: [{method: {service: cart.v1.Cart}}], backendRefs: [{name: cart, port: 90}]}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: wide}, spec: {targetRefs: [{kind: Service, name: cart}], \
retry: {attempts: 1}, hedge: {}, healthCheck: {tcp: {}, interval: 2s}, ejection: {base: 5s}, breaker: {probes: 3}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: narrow}, spec: {targetRefs: [{kind: Service, name: cart, \
sectionName: http}], timeouts: {connect: 250ms}, hedge: {minDelay: 20ms}, slowStart: 30s, limits: {endpointRequests: 99}, zonePreference: {enabled: true}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: quiet}, spec: {targetRefs: [{kind: Service, name: cart, \
sectionName: grpc}], healthCheck: {enabled: false}}}
---
{apiVersion: gateway.networking.x-k8s.io/v1alpha1, kind: XBackendTrafficPolicy, metadata: {name: budget}, spec: {targetRefs: \
[{group: '', kind: Service, name: cart}], retryConstraint: {}}}
";

#[test]
fn explaining_says_where_each_value_comes_from() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let file = folder.file("layered.yaml", LAYERED);
    succeeded(&outrigger(&["publish", "--store", &store, "-f", &file]));
    let http = [
        "rule         default/shop#0 (HTTPRoute default/shop)",
        "  timeouts   request 10s (HTTPRoute default/shop); try none (default); connect 250ms (BackendPolicy default/narrow); first byte",
        "  retry      attempts 1 (BackendPolicy default/wide); on 500 (HTTPRoute default/shop); gRPC UNAVAILABLE, where it is safe \
         (default); backoff 1s, up to 1s (HTTPRoute default/shop); bodies up to 65536 bytes (default)",
        "  budget     20 % of requests, over 10s, and 10 a second (XBackendTrafficPolicy default/budget)",
        "  hedge      after 95 % of answers (default); not before 20ms (BackendPolicy default/narrow); where it is safe (default)",
        "; for 5s (BackendPolicy default/wide); up to 5m, ",
        "; probes 3 (BackendPolicy default/wide); successes 10, ",
        "  health     a connection, every 2s (BackendPolicy default/wide); 1s if not well, ",
        "  slow start 30s (BackendPolicy default/narrow)",
        "; per endpoint 99 (BackendPolicy default/narrow)",
        "  zones      the own preferred (BackendPolicy default/narrow); with at least 6 endpoints (default)",
        " are at most 2000 (default)",
    ];
    let grpc = [
        "rule         default/shop#0 (GRPCRoute default/shop)",
        "matches      path below /cart.v1.Cart",
        "  timeouts   request none, try none, connect 1s, first byte none, ",
        "  hedge      after 95 % of answers, not before 10ms, calls with an Idempotency-Key alone (default)",
        "  health     none (BackendPolicy default/quiet)",
        "  slow start none (default)",
        "  zones      all alike (default)",
        "  subset     all endpoints",
    ];
    for source in [["-f", &file], ["--store", &store]] {
        for (method, url, parts) in
            [("GET", "http://cart/", &http[..]), ("POST", "http://cart:90/cart.v1.Cart/Get", &grpc[..])]
        {
            let said = succeeded(&outrigger(&[&["explain", method, url][..], &source].concat()));
            for part in parts {
                assert!(said.contains(part), "no {part:?} in:\n{said}");
            }
        }
    }
    // What was written is gone; what was made of it is not.
    std::fs::remove_dir_all(folder.store().join("revisions")).unwrap();
    let said = succeeded(&outrigger(&["explain", "GET", "http://cart/", "--store", &store]));
    for part in
        ["(route default/shop)", "attempts 1 (a policy); on 500 (route default/shop)", "connections 1024"]
    {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

#[test]
fn keys_are_made_once_and_a_mesh_is_made_with_one() {
    let folder = Folder::new();
    let (store, key) =
        (folder.store().display().to_string(), folder.path().join("my.key").display().to_string());
    let public = succeeded(&outrigger(&["keys", "new", &key]));
    assert!(public.starts_with("ed25519:"), "{public}");
    assert!(failed(&outrigger(&["keys", "new", &key]), 1).contains("not overwritten"));
    let made = succeeded(&outrigger(&["store", "init", "--store", &store, "--signing-key", &key]));
    assert!(made.contains(public.trim()), "{made}");
    failed(&outrigger(&["store", "init", "--store", &store, "--signing-key", &key]), 1);
    for place in [vec![key.as_str()], vec!["--store", &store]] {
        assert!(
            succeeded(&outrigger(&[&["keys", "list"], place.as_slice()].concat())).contains(public.trim())
        );
    }
    let file = folder.file("split.yaml", SPLIT);
    succeeded(&outrigger(&["publish", "--store", &store, "--signing-key", &key, "-f", &file]));
    let other = folder.path().join("other.key").display().to_string();
    succeeded(&outrigger(&["keys", "new", &other]));
    let said = failed(&outrigger(&["publish", "--store", &store, "--signing-key", &other, "-f", &file]), 1);
    assert!(said.contains("--trust-key"), "{said}");
}

#[test]
fn a_quarantine_is_ended_by_digest_or_altogether() {
    let folder = Folder::new();
    let state = folder.path().display().to_string();
    assert_eq!(succeeded(&outrigger(&["unquarantine", "--state-dir", &state])), "nothing is in quarantine\n");
    let entry = |digest: &str| json!({"digest": digest, "kind": "policy", "deaths": 2, "since_unix_ms": 5});
    let record = json!({"version": 1, "entries": [entry("aa11"), entry("bb22"), entry("cc33")]});
    let path = folder.file("quarantine.json", &record.to_string());
    let kept = || serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()).unwrap();
    let said = failed(&outrigger(&["unquarantine", "--state-dir", &state, "dd"]), 1);
    assert!(said.contains("aa11, bb22, cc33"), "{said}");
    assert_eq!(succeeded(&outrigger(&["unquarantine", "--state-dir", &state, "bb"])), "released bb22\n");
    assert_eq!(kept(), json!({"version": 1, "entries": [entry("aa11"), entry("cc33")]}));
    succeeded(&outrigger(&["unquarantine", "--state-dir", &state]));
    assert_eq!(kept()["entries"], json!([]));
    std::fs::write(&path, "{").unwrap();
    failed(&outrigger(&["unquarantine", "--state-dir", &state]), 1);
    failed(&outrigger(&["unquarantine", "--state-dir", "/nonexistent"]), 1);
}

#[test]
fn schemas_and_files_of_a_store_are_printed() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let file = folder.file("split.yaml", SPLIT);
    succeeded(&outrigger(&["publish", "--store", &store, "-f", &file, "--author", "ada"]));
    let schema: Value = serde_json::from_str(&succeeded(&outrigger(&["schema", "httproutes"]))).unwrap();
    assert!(schema.to_string().contains("backendRefs"));
    failed(&outrigger(&["schema", "nope"]), 2);
    let mut seen = Vec::new();
    let mut folders = vec![folder.store()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            seen.push(succeeded(&outrigger(&["snapshot", "inspect", &path.display().to_string()])));
        }
    }
    for part in ["\"author\": \"ada\"", "\"revision\": 1", "\"services\"", "\"clusters\"", "ed25519:"] {
        assert!(seen.iter().any(|text| text.contains(part)), "{part}");
    }
    failed(&outrigger(&["snapshot", "inspect", &file]), 1);
}
