//! What operators write, through the public interface.

use outrigger_control_plane::compile::compile;
use outrigger_control_plane::config::{Checked, Problems, Source, load};

const SPINE: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: cart}
spec:
  ports: [{name: http, port: 80, protocol: HTTP}]            # HTTP | HTTP2 | GRPC | TCP | TLS
  endpoints:
    static: [{address: '127.0.0.1:9001'}, {address: '127.0.0.1:9002', weight: 2, zone: a}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart}
spec:
  parentRefs: [{group: "", kind: Service, name: cart}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    timeouts: {request: 10s, backendRequest: 2s}
    backendRefs: [{name: cart-v1, port: 80, weight: 90}, {name: cart-v2, port: 80, weight: 10}]
---
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: cart-v1}
spec:
  ports: [{name: http, port: 80, protocol: HTTP}]
  endpoints: {dns: {name: cart.internal, port: 8080}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: cart-v2}
spec:
  ports: [{name: http, port: 80, protocol: HTTP}]
  endpoints: {srv: {name: _http._tcp.cart.internal}}
"#;

fn loaded(text: &str) -> Result<Checked, Problems> {
    load(&[], &[Source { name: "mesh.yaml".to_owned(), text: text.to_owned() }])
}

#[test]
fn the_documented_example_compiles() {
    let checked = loaded(SPINE).unwrap();
    let compiled = compile(&checked);
    assert_eq!(compiled.scopes.len(), 3);
    assert_eq!((compiled.policies.len(), compiled.facts.len()), (1, 1));
    compiled.policies[0].check().unwrap();
    compiled.facts[0].check().unwrap();
}
