//! Connections that are not looked into, and who may call, as the tools explain them.

use crate::support::{Folder, failed, outrigger, succeeded};

const MESH: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [{name: sql, port: 5432, protocol: TCP}, \
{name: tls, port: 443, protocol: TLS}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: next}, spec: {ports: [{port: 5432, protocol: TCP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: sql}, spec: {parentRefs: [{group: '', kind: Service, \
name: db, sectionName: sql}], rules: [{backendRefs: [{name: next, port: 5432, weight: 9}, {name: db, port: 5432, weight: 1}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TLSRoute, metadata: {name: hosts}, spec: {parentRefs: [{group: '', kind: Service, \
name: db, sectionName: tls}], hostnames: ['*.example.org'], rules: [{backendRefs: [{name: db, port: 443}]}]}}
";

const CALLED: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: cart}, spec: {ports: [{port: 80, protocol: HTTP}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: cart}, spec: {targetRefs: [{kind: Service, name: cart}], \
authorization: {dryRun: true, rules: [{name: readers, access: Allow, methods: [GET]}, {name: admin, access: Deny, paths: [{value: /admin}]}]}, \
priorities: [{priority: 0, paths: [{value: /checkout}]}]}}
";

#[test]
fn explaining_a_connection_says_which_route_takes_it() {
    let folder = Folder::new();
    let file = folder.file("mesh.yaml", MESH);
    let explain =
        |arguments: &[&str]| outrigger(&[&["explain", "CONNECT"], arguments, &["-f", &file]].concat());
    let said = succeeded(&explain(&["tcp://db:5432"]));
    for line in [
        "rule         default/sql#0 (TCPRoute default/sql)",
        "cluster      default/next:5432, 90.0 % (weight 9 of 10)",
        "cluster      default/db:5432, 10.0 % (weight 1 of 10)",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let said = succeeded(&explain(&["tls://db:443", "--server-name", "a.example.org"]));
    assert!(said.contains("rule         default/hosts#0 (TLSRoute default/hosts)"), "{said}");
    for (arguments, why) in [
        (
            &["tls://db:443", "--server-name", "other.org"][..],
            "no rule of default/db:443 is for the host \"other.org\"",
        ),
        (&["tcp://nobody:1"], "no service is called by the host \"nobody\""),
        (&["tcp://db:1"], "default/db has no TCP or TLS port 1; it has 5432, 443"),
    ] {
        let said = failed(&explain(arguments), 1);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}

const EDGE: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: cart}, spec: {ports: [{port: 80, protocol: HTTP}], \
endpoints: {dns: {name: cart.test, port: 443}}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge}, spec: {gatewayClassName: x, listeners: [{name: web, \
port: 443, hostname: '*.a.test', protocol: HTTPS, tls: {certificateRefs: [{name: pair}]}}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: cart}, spec: {parentRefs: [{name: edge}], hostnames: \
[shop.a.test], rules: [{matches: [{path: {value: /cart}}], backendRefs: [{name: cart, port: 80}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: cart}, spec: {targetRefs: [{group: '', kind: Service, \
name: cart}], validation: {hostname: cart.test, wellKnownCACertificates: System}}}
";

#[test]
fn explaining_a_request_to_a_gateway_says_which_listener_takes_it() {
    let folder = Folder::new();
    let file = folder.file("mesh.yaml", EDGE);
    let explain = |url: &str| outrigger(&["explain", "GET", url, "--service", "edge", "-f", &file]);
    let said = succeeded(&explain("https://shop.a.test/cart/1"));
    for line in [
        "listener     web, port 443 (HTTPS) for *.a.test",
        "tls          shows default/pair; TLS 1.2 at least",
        "rule         default/cart#0 (HTTPRoute default/cart)",
        "cluster      default/cart:80, 100.0 % (weight 1 of 1)",
        "  tls        asked for cart.test, believed by the proxy's system",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    for (url, why) in [
        (
            "http://shop.a.test/cart",
            "no listener for requests is for \"shop.a.test\" on port 80; the gateway has *.a.test (port 443)",
        ),
        ("https://shop.a.test/", "no rule of web matches GET /; the proxy would answer 404"),
        ("https://other.a.test/cart", "no service is called by the host \"other.a.test\""),
    ] {
        let said = failed(&explain(url), 1);
        assert!(said.contains(why), "{url}: {said}");
    }
}

#[test]
fn explaining_a_call_says_who_may_make_it_and_what_matters() {
    let folder = Folder::new();
    let file = folder.file("mesh.yaml", CALLED);
    let said = succeeded(&outrigger(&["explain", "GET", "http://cart/", "-f", &file]));
    for line in [
        "access     denied by admin, allowed by readers, else denied, only counted (dryRun) (InboundPolicy default/cart)",
        "priorities 1 rule, else as callers say (InboundPolicy default/cart)",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}
