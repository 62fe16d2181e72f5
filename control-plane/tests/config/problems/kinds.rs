//! Kinds and names: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::Text("kind: Service"),
        &[
            "m.yaml:5:1: apiVersion: is missing; expected one of outrigger.dev/v1alpha1 (Service), gateway.networking.k8s.io/v1 (HTTPRoute), gateway.networking.k8s.io/v1 (GRPCRoute), gateway.networking.k8s.io/v1 (TCPRoute), gateway.networking.k8s.io/v1 (TLSRoute), outrigger.dev/v1alpha1 (BackendPolicy), gateway.networking.x-k8s.io/v1alpha1 (XBackendTrafficPolicy), outrigger.dev/v1alpha1 (InboundPolicy), outrigger.dev/v1alpha1 (TelemetryPolicy), outrigger.dev/v1alpha1 (RouteFilter), outrigger.dev/v1alpha1 (Mesh), gateway.networking.k8s.io/v1 (Gateway), gateway.networking.k8s.io/v1 (BackendTLSPolicy), v1 (ConfigMap)",
        ],
    ),
    (
        Wrong::Text("apiVersion: outrigger.dev/v1alpha1\nkind: 3"),
        &["m.yaml:6:7: kind: is the number 3; expected a text"],
    ),
    (
        Wrong::Text("apiVersion: outrigger.dev/v1alpha1\nkind: BackendPolice"),
        &[
            r#"m.yaml:6:7: kind: "BackendPolice" is not a known kind; expected one of outrigger.dev/v1alpha1 (Service), gateway.networking.k8s.io/v1 (HTTPRoute), gateway.networking.k8s.io/v1 (GRPCRoute), gateway.networking.k8s.io/v1 (TCPRoute), gateway.networking.k8s.io/v1 (TLSRoute), outrigger.dev/v1alpha1 (BackendPolicy), gateway.networking.x-k8s.io/v1alpha1 (XBackendTrafficPolicy), outrigger.dev/v1alpha1 (InboundPolicy), outrigger.dev/v1alpha1 (TelemetryPolicy), outrigger.dev/v1alpha1 (RouteFilter), outrigger.dev/v1alpha1 (Mesh), gateway.networking.k8s.io/v1 (Gateway), gateway.networking.k8s.io/v1 (BackendTLSPolicy), v1 (ConfigMap); did you mean "BackendPolicy"?"#,
        ],
    ),
    (
        Wrong::Text("apiVersion: v1\nkind: Service"),
        &[
            r#"m.yaml:5:13: apiVersion: "v1" is not the version of Service here; expected outrigger.dev/v1alpha1"#,
        ],
    ),
    (
        Wrong::Text("apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute"),
        &[
            "m.yaml:6:7: kind: UDPRoute is not supported by Outrigger yet; expected one of outrigger.dev/v1alpha1 (Service), gateway.networking.k8s.io/v1 (HTTPRoute), gateway.networking.k8s.io/v1 (GRPCRoute), gateway.networking.k8s.io/v1 (TCPRoute), gateway.networking.k8s.io/v1 (TLSRoute), outrigger.dev/v1alpha1 (BackendPolicy), gateway.networking.x-k8s.io/v1alpha1 (XBackendTrafficPolicy), outrigger.dev/v1alpha1 (InboundPolicy), outrigger.dev/v1alpha1 (TelemetryPolicy), outrigger.dev/v1alpha1 (RouteFilter), outrigger.dev/v1alpha1 (Mesh), gateway.networking.k8s.io/v1 (Gateway), gateway.networking.k8s.io/v1 (BackendTLSPolicy), v1 (ConfigMap)",
        ],
    ),
    (
        Wrong::Text("apiVersion: v1\nkind: List\nitems: [3]"),
        &[
            "m.yaml:7:9: a resource is an object, this is the number 3; expected apiVersion, kind, metadata and spec",
        ],
    ),
    (
        Wrong::Text(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {}\nspec: {ports: [{port: 80, protocol: HTTP}]}",
        ),
        &["m.yaml:7:11: metadata.name: is missing; expected the name, a DNS label"],
    ),
    (
        Wrong::Text(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {name: Cart, namespace: a.b}\nspec: {ports: [{port: 80, protocol: HTTP}]}",
        ),
        &[
            r#"m.yaml:7:18: metadata.name: "Cart" is not valid; expected 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit; did you mean "cart"?"#,
            r#"m.yaml:7:35: metadata.namespace: "a.b" is not valid; expected 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"#,
        ],
    ),
    (
        Wrong::Text(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {generateName: cart-, name: cart, labels: {a: 1}}\nspec: {ports: [{port: 80, protocol: HTTP}]}",
        ),
        &[
            "m.yaml:7:12: metadata.generateName: is not supported by Outrigger yet",
            "m.yaml:7:57: metadata.labels.a: is the number 1; expected a text; put quotes around it",
        ],
    ),
    (
        Wrong::Text("apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {name: cart}"),
        &["m.yaml:5:1: spec: is missing; expected the settings of the resource"],
    ),
    (
        Wrong::Text(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {name: cart, name: card}\nspec: {ports: [{port: 80, port: 81, protocol: HTTP}]}",
        ),
        &[
            "m.yaml:7:24: metadata.name: is written before, in line 7; expected each key once",
            "m.yaml:8:27: spec.ports[0].port: is written before, in line 8; expected each key once",
        ],
    ),
    (
        Wrong::Text(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80, protocol: HTTP}]}",
        ),
        &[
            "m.yaml:7:18: metadata.name: Service default/web is defined before, in m.yaml:1; expected each name once for a kind",
        ],
    ),
];
