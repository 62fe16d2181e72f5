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
