//! Inbound policies and the filters that routes name, through the tools.

use crate::support::{ControlPlane, Folder, failed, outrigger, succeeded};

/// Two policies on one port, and a route with filters of its own and of others.
const MESH: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: cart}, spec: {ports: [{name: http, port: 80, protocol: HTTP}, \
{name: grpc, port: 90, protocol: GRPC}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: wide}, spec: {targetRefs: [{kind: Service, name: cart}], \
shed: {tolerance: 150, exempt: [/ready]}, rateLimits: [{name: calls, requests: 100, period: 1m, keys: [{header: X-User}, {source: true}]}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: narrow}, spec: {targetRefs: [{kind: Service, name: cart, \
sectionName: http}], shed: {tolerance: 200}, trustedSources: [10.1.0.0/16]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: RouteFilter, metadata: {name: drill}, spec: {fault: {delay: {percent: 10, duration: 250ms}, \
abort: {percent: 1}}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: RouteFilter, metadata: {name: calls}, spec: {rateLimit: {name: calls, requests: 50, \
period: 1s, keys: [{pathElement: 1}], global: true}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: shop}, spec: {parentRefs: [{group: '', kind: Service, \
name: cart, port: 80}], rules: [{filters: [\
{type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: drill}}, \
{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}}], \
backendRefs: [{name: cart, port: 80, filters: [\
{type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: calls}}]}]}]}}
";

#[test]
fn explaining_says_what_is_done_about_requests_that_come_and_by_whose_word() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let file = folder.file("inbound.yaml", MESH);
    succeeded(&outrigger(&["publish", "--store", &store, "-f", &file]));
    let limit = "calls: 100 per 1m, bursts of 10, for each header x-user and source, counted by each sidecar";
    let wide = format!("  rate limit {limit} (InboundPolicy default/wide)");
    let http = [
        "filter       fault: 10 % wait 250ms, 1 % get 503, by gRPC UNAVAILABLE (RouteFilter default/drill)",
        "filter       request headers: remove x-a (HTTPRoute default/shop)",
        "  filter     rate limit calls: 50 per 1s, bursts of 5, for each element 1 of the path, counted over all sidecars \
         (RouteFilter default/calls)",
        "  shedding   on (default); tolerance 200 % (InboundPolicy default/narrow); exempt /ready (InboundPolicy default/wide)",
        &wide,
        "  trusted    10.1.0.0/16 (InboundPolicy default/narrow)",
    ];
    let grpc = [
        "  shedding   on (default); tolerance 150 %, exempt /ready (InboundPolicy default/wide)",
        &wide,
        "  trusted    nobody (default)",
    ];
    for source in [["-f", &file], ["--store", &store]] {
        for (url, parts) in [("http://cart/", &http[..]), ("http://cart:90/", &grpc[..])] {
            let said = succeeded(&outrigger(&[&["explain", "GET", url][..], &source].concat()));
            for part in parts {
                assert!(said.lines().any(|line| line == *part), "no {part:?} in:\n{said}");
            }
        }
    }
    // What was written is gone; what was made of it is not.
    std::fs::remove_dir_all(folder.store().join("revisions")).unwrap();
    let said = succeeded(&outrigger(&["explain", "GET", "http://cart/", "--store", &store]));
    for part in ["UNAVAILABLE (a RouteFilter)", "remove x-a (route default/shop)", "sidecar (a policy)"] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    let off = folder.file("off.yaml", &MESH.replace("{tolerance: 200}", "{enabled: false}"));
    let said = succeeded(&outrigger(&["explain", "GET", "http://cart/", "-f", &off]));
    assert!(said.contains("  shedding   off (InboundPolicy default/narrow)\n"), "{said}");
}

#[test]
fn explaining_says_what_clients_outside_the_mesh_are_shown() {
    let folder = Folder::new();
    let tls = "tls: {certificateRefs: [{name: cart-tls}], minVersion: \"1.3\"}";
    let file = folder.file("inbound.yaml", &MESH.replace("shed: {tolerance: 200}", tls));
    let explain = |url: &str| succeeded(&outrigger(&["explain", "GET", url, "-f", &file]));
    let said = explain("http://cart/");
    let line = "  tls        shows default/cart-tls; TLS 1.3 at least; clear text is refused (InboundPolicy default/narrow)";
    assert!(said.lines().any(|said| said == line), "{said}");
    assert!(!explain("http://cart:90/").contains("  tls "), "of the other port nothing is said");
}

#[test]
fn both_kinds_are_applied_shown_compared_and_removed() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let file = folder.file("inbound.yaml", MESH);
    succeeded(&control_plane.outrigger("apply", &["-f", &file]));
    let table = succeeded(&control_plane.outrigger("get", &[]));
    for kind in ["InboundPolicy", "RouteFilter"] {
        assert!(table.contains(kind), "{table}");
    }
    let yaml = succeeded(&control_plane.outrigger("get", &["inboundpolicy/narrow", "-o", "yaml"]));
    assert!(yaml.contains("trustedSources"), "{yaml}");
    let changed = folder.file("changed.yaml", &MESH.replace("requests: 50", "requests: 60"));
    let difference = control_plane.outrigger("diff", &["-f", &changed, "--exit-code"]);
    assert_eq!(difference.status.code(), Some(1));
    let difference = String::from_utf8(difference.stdout).unwrap();
    assert!(difference.contains("RouteFilter") && difference.contains("60"), "{difference}");
    let one = |index: usize| folder.file(&format!("{index}.yaml"), MESH.split("---").nth(index).unwrap());
    let (narrow, drill) = (one(2), one(3));
    succeeded(&control_plane.outrigger("delete", &["-f", &narrow]));
    failed(&control_plane.outrigger("get", &["InboundPolicy/narrow"]), 1);
    let said = failed(&control_plane.outrigger("delete", &["-f", &drill]), 1);
    assert!(said.contains("there is no RouteFilter default/drill"), "{said}");
    succeeded(&control_plane.outrigger("get", &["RouteFilter/drill"]));
}

#[test]
fn the_kinds_are_known_by_name() {
    let folder = Folder::new();
    let file = folder.file("inbound.yaml", MESH);
    succeeded(&outrigger(&["validate", "-f", &file]));
    for (kind, field) in [("inboundpolicies", "rateLimits"), ("RouteFilter", "grpcStatus")] {
        assert!(succeeded(&outrigger(&["schema", kind])).contains(field), "{kind}");
    }
    let wrong =
        folder.file("wrong.yaml", &MESH.replace("RouteFilter, name: drill", "RouteFilter, name: dril"));
    let said = failed(&outrigger(&["validate", "-f", &wrong]), 1);
    assert!(said.contains("there is no RouteFilter default/dril;"), "{said}");
    assert!(said.contains("did you mean \"drill\"?"), "{said}");
}
