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
priorities: [{priority: 3, namespaces: [ops]}, {priority: 0, paths: [{value: /checkout}]}, {priority: 1, paths: [{value: /checkout}]}]}}
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

const CONNECTED: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [{name: sql, port: 5432, protocol: TCP}, \
{name: tls, port: 443, protocol: TLS}], endpoints: {static: [{address: 10.0.0.7}]}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: next}, spec: {ports: [{port: 5432, protocol: TCP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge}, spec: {gatewayClassName: x, listeners: [\
{name: sql, port: 5432, protocol: TCP}, {name: idle, port: 5433, protocol: TCP}, {name: web, port: 80, protocol: HTTP}, \
{name: tls, port: 8443, protocol: TLS, hostname: '*.a.test', tls: {mode: Passthrough}}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: sql}, spec: {parentRefs: [{name: edge, sectionName: sql}], \
rules: [{backendRefs: [{name: next, port: 5432, weight: 9}, {name: db, port: 5432, weight: 1}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TLSRoute, metadata: {name: hosts}, spec: {parentRefs: [{name: edge}], \
hostnames: [db.a.test], rules: [{backendRefs: [{name: db, port: 443}]}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: db}, spec: {targetRefs: [{kind: Service, name: db}], \
timeouts: {connect: 3s}, limits: {connections: 7}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: db}, spec: {targetRefs: [{kind: Service, name: db}], \
authorization: {default: Deny}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: office}, spec: {targetRefs: [{kind: Gateway, name: edge, \
sectionName: sql}], authorization: {rules: [{name: office, access: Allow, sources: [10.0.0.0/8]}]}}}
";

#[test]
fn explaining_a_connection_to_a_gateway_says_which_listener_takes_it() {
    let folder = Folder::new();
    let file = folder.file("mesh.yaml", CONNECTED);
    let explain = |arguments: &[&str]| {
        outrigger(&[&["explain"], arguments, &["--service", "edge", "-f", &file]].concat())
    };
    let said = succeeded(&explain(&["tcp://edge.example:5432"]));
    for line in [
        "listener     sql, port 5432 (TCP) for every host",
        "  access     allowed by office, else denied (InboundPolicy default/office)",
        "rule         default/sql#0 (TCPRoute default/sql)",
        "cluster      default/next:5432, 90.0 % (weight 9 of 10)",
        "cluster      default/db:5432, 10.0 % (weight 1 of 10)",
        "  endpoints  10.0.0.7:5432",
        "connect 3s (BackendPolicy default/db)",
        "connections 7 (BackendPolicy default/db)",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!said.contains("InboundPolicy default/db"), "that is for the sidecars of db to say:\n{said}");
    for arguments in [
        &["tls://db.a.test:8443"][..],
        &["CONNECT", "tls://db.a.test:8443"],
        &["tls://10.0.0.1:8443", "--server-name", "db.a.test"],
    ] {
        let said = succeeded(&explain(arguments));
        for line in [
            "listener     tls, port 8443 (TLS) for *.a.test",
            "  access     everybody may call (default)",
            "rule         default/hosts#0 (TLSRoute default/hosts)",
            "hosts        db.a.test",
            "cluster      default/db:443, 100.0 % (weight 1 of 1)",
        ] {
            assert!(said.contains(line), "{arguments:?} {line}\n{said}");
        }
    }
    for (arguments, why) in [
        (
            &["tcp://edge:80"][..],
            "no listener for connections is for anything on port 80; the gateway has every host (TCP, port 5432), every host (TCP, \
             port 5433), *.a.test (TLS, port 8443)",
        ),
        (&["tcp://edge"], "is for anything on port (none was named)"),
        (
            &["tls://other.test:8443"],
            "no listener for connections is for the host \"other.test\" on port 8443",
        ),
        (&["tls://x.a.test:8443"], "no rule of listener tls is for the host \"x.a.test\""),
        (&["tcp://edge:5433"], "no rule of listener idle is for no host"),
    ] {
        let said = failed(&explain(arguments), 1);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    for arguments in [&["GET", "tcp://edge:5432"][..], &["http://edge/"]] {
        failed(&explain(arguments), 2);
    }
}

#[test]
fn explaining_a_call_says_who_may_make_it_and_what_matters() {
    let folder = Folder::new();
    let file = folder.file("mesh.yaml", CALLED);
    let explain = |url: &str| succeeded(&outrigger(&["explain", "GET", url, "-f", &file]));
    let said = explain("http://cart/");
    for line in [
        "access     denied by admin, allowed by readers, else denied, only counted (dryRun) (InboundPolicy default/cart)",
        "priorities 3 by priorities[0] for its callers, else as callers say (InboundPolicy default/cart)",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let said = explain("http://cart/checkout/1");
    let line =
        "priorities 3 by priorities[0] for its callers, else 0 by priorities[1] (InboundPolicy default/cart)";
    assert!(said.contains(line), "{line}\n{said}");
}
