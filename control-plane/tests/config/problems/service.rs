//! Services: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (Wrong::Service("ports: []"), &["m.yaml:6:9: spec.ports: has 0 items; expected 1 to 64"]),
    (Wrong::Service("ports: {port: 80}"), &["m.yaml:6:9: spec.ports: is an object; expected a list"]),
    (
        Wrong::Service("prots: [], ports: [{port: 80, protocol: HTTP}]"),
        &[
            r#"m.yaml:6:2: spec.prots: is not a field of this object; expected one of ports, endpoints, hosts, uses, mtls; did you mean "ports"?"#,
        ],
    ),
    (
        Wrong::Service("ports: [{port: 65536, protocol: HTTP}]"),
        &["m.yaml:6:17: spec.ports[0].port: is the number 65536; expected a whole number from 1 to 65535"],
    ),
    (
        Wrong::Service(r#"ports: [{port: "80", protocol: HTTP}]"#),
        &[r#"m.yaml:6:17: spec.ports[0].port: is the text "80"; expected a whole number from 1 to 65535"#],
    ),
    (
        Wrong::Service("ports: [{port: 80.5, protocol: HTTP}]"),
        &["m.yaml:6:17: spec.ports[0].port: is the number 80.5; expected a whole number from 1 to 65535"],
    ),
    (
        Wrong::Service("ports: [{port: 80}]"),
        &["m.yaml:6:10: spec.ports[0].protocol: is missing; expected one of HTTP, HTTP2, GRPC, TCP, TLS"],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: HTPP}]"),
        &[
            r#"m.yaml:6:31: spec.ports[0].protocol: "HTPP" is not known; expected one of HTTP, HTTP2, GRPC, TCP, TLS; did you mean "HTTP"?"#,
        ],
    ),
    (
        Wrong::Service(
            "ports: [{port: 80, protocol: GRPC, proxyProtocol: {version: V3, writtenBy: callers}}]",
        ),
        &[
            "m.yaml:6:52: spec.ports[0].proxyProtocol: has no meaning on a port of protocol GRPC; expected no proxyProtocol; requests have x-forwarded-for",
            r#"m.yaml:6:62: spec.ports[0].proxyProtocol.version: "V3" is not known; expected one of V1, V2; did you mean "V1"?"#,
            r#"m.yaml:6:77: spec.ports[0].proxyProtocol.writtenBy: "callers" is not known; expected one of Sidecar, Callers; did you mean "Callers"?"#,
        ],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: GRPC, appProtocol: http}]"),
        &[
            "m.yaml:6:50: spec.ports[0].appProtocol: contradicts protocol; expected an appProtocol that says the same as protocol, or protocol TCP",
        ],
    ),
    (
        Wrong::Service("ports: [{port: 443, appProtocol: https}]"),
        &[
            "m.yaml:6:35: spec.ports[0].appProtocol: https is not supported by Outrigger yet; expected one of http, http2, grpc, tcp, tls, kubernetes.io/h2c, kubernetes.io/ws",
        ],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: HTTP}, {port: 81, name: b, protocol: HTTP}]"),
        &["m.yaml:6:10: spec.ports[0].name: is missing; expected a name, since there are several ports"],
    ),
    (
        Wrong::Service("ports: [{port: 80, name: a, protocol: HTTP}, {port: 80, name: a, protocol: HTTP}]"),
        &[
            "m.yaml:6:54: spec.ports[1].port: port 80 is that of ports[0] too; expected each port once",
            r#"m.yaml:6:64: spec.ports[1].name: "a" is the name of ports[0] too; expected each name once"#,
        ],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: HTTP, targetPort: web}]"),
        &[
            r#"m.yaml:6:49: spec.ports[0].targetPort: is the text "web"; expected a whole number from 1 to 65535"#,
        ],
    ),
    (
        Wrong::Service(
            r#"ports: [{port: 80, protocol: HTTP}], hosts: [Cart.example, "cart.example:80", "*.example", "a b"]"#,
        ),
        &[
            r#"m.yaml:6:47: spec.hosts[0]: "Cart.example" is not valid; expected a host name in lower case, without port and wildcard; did you mean "cart.example"?"#,
            r#"m.yaml:6:61: spec.hosts[1]: "cart.example:80" is not valid; expected a host name in lower case, without port and wildcard"#,
            r#"m.yaml:6:80: spec.hosts[2]: "*.example" is not valid; expected a host name in lower case, without port and wildcard"#,
            r#"m.yaml:6:93: spec.hosts[3]: "a b" is not valid; expected a host name in lower case, without port and wildcard"#,
        ],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: HTTP}], hosts: [a.example, a.example]"),
        &[r#"m.yaml:6:58: spec.hosts[1]: "a.example" stands twice; expected each host once"#],
    ),
    (
        Wrong::Service(
            "ports: [{port: 80, protocol: HTTP}], hosts: [cart, web.default, cart.default.svc, web.shop.example]",
        ),
        &[
            r#"m.yaml:6:47: spec.hosts[0]: "cart" is made from the name of Service default/cart; expected a host beside those made from names: NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc"#,
            r#"m.yaml:6:53: spec.hosts[1]: "web.default" is made from the name of Service default/web; expected a host beside those made from names: NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc"#,
            r#"m.yaml:6:66: spec.hosts[2]: "cart.default.svc" is made from the name of Service default/cart; expected a host beside those made from names: NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc"#,
        ],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: HTTP}], hosts: [www.example]"),
        &[
            r#"m.yaml:6:47: spec.hosts[0]: "www.example" is a host of default/web too; expected a host that is unique in the mesh"#,
        ],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: HTTP}], uses: [wbe, other/web, a/b/c]"),
        &[
            r#"m.yaml:6:46: spec.uses[0]: there is no Service default/wbe; expected a Service of this push or of the mesh; did you mean "web"?"#,
            r#"m.yaml:6:51: spec.uses[1]: there is no Service other/web; expected a Service of this push or of the mesh; did you mean "default/web"?"#,
            r#"m.yaml:6:62: spec.uses[2]: "a/b/c" is not valid; expected NAME or NAMESPACE/NAME of a Service"#,
        ],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: HTTP}], endpoints: {}"),
        &["m.yaml:6:50: spec.endpoints: names no source; expected exactly one of static, dns, srv"],
    ),
    (
        Wrong::Service(
            "ports: [{port: 80, protocol: HTTP}], endpoints: {static: [], dns: {name: cart.internal}}",
        ),
        &["m.yaml:6:50: spec.endpoints: has static and dns; expected exactly one of static, dns, srv"],
    ),
    (
        Wrong::Service(
            r#"ports: [{port: 80, protocol: HTTP}], endpoints: {static: [{address: "cart.internal:80"}]}"#,
        ),
        &[
            r#"m.yaml:6:70: spec.endpoints.static[0].address: "cart.internal:80" is a name, and `static` takes addresses; expected an IP address, or `dns: {name: …}` in place of `static`"#,
        ],
    ),
    (
        Wrong::Service(
            r#"ports: [{port: 80, protocol: HTTP}], endpoints: {static: [{address: "10.0.0.1:99999"}, {address: "10.0.0.1:0"}, {address: "[::]:80"}]}"#,
        ),
        &[
            r#"m.yaml:6:70: spec.endpoints.static[0].address: "10.0.0.1:99999" is not an address; expected an IP address like 10.0.0.1, 10.0.0.1:8080, fd00::1 or [fd00::1]:8080"#,
            r#"m.yaml:6:99: spec.endpoints.static[1].address: "10.0.0.1:0" has port 0; expected a port from 1 to 65535"#,
            r#"m.yaml:6:124: spec.endpoints.static[2].address: "[::]:80" is the address of no endpoint; expected an address that can be dialled"#,
        ],
    ),
    (
        Wrong::Service(
            r#"ports: [{port: 80, protocol: HTTP}], endpoints: {static: [{address: "10.0.0.1"}, {address: "10.0.0.1:80"}]}"#,
        ),
        &[
            "m.yaml:6:93: spec.endpoints.static[1].address: is the address of static[0] too; expected each endpoint once, with a weight",
        ],
    ),
    (
        Wrong::Service(
            r#"ports: [{port: 80, protocol: HTTP}], endpoints: {static: [{address: "10.0.0.1", weight: 0, zone: A}]}"#,
        ),
        &[
            "m.yaml:6:90: spec.endpoints.static[0].weight: is the number 0; expected a whole number from 1 to 1000000",
            r#"m.yaml:6:99: spec.endpoints.static[0].zone: "A" is not valid; expected 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit; did you mean "a"?"#,
        ],
    ),
    (
        Wrong::Service(
            r#"ports: [{port: 80, name: a, protocol: HTTP}, {port: 81, name: b, protocol: HTTP}], endpoints: {static: [{address: "10.0.0.1:80"}]}"#,
        ),
        &[
            "m.yaml:6:116: spec.endpoints.static[0].address: its port would stand for every port of this service; expected an address without a port: each port's targetPort is dialled",
        ],
    ),
    (
        Wrong::Service(
            "ports: [{port: 80, name: a, protocol: HTTP}, {port: 81, name: b, protocol: HTTP}], endpoints: {dns: {name: cart.internal, port: 80}}",
        ),
        &[
            "m.yaml:6:130: spec.endpoints.dns.port: would stand for every port of this service; expected no port: each port's targetPort is dialled",
        ],
    ),
    (
        Wrong::Service(
            "ports: [{port: 80, name: a, protocol: HTTP}, {port: 81, name: b, protocol: HTTP}], endpoints: {srv: {name: _a._tcp.b}}",
        ),
        &[
            "m.yaml:6:102: spec.endpoints.srv: its records would stand for every port of this service; expected a Service for each port",
        ],
    ),
    (
        Wrong::Service(
            r#"ports: [{port: 80, protocol: HTTP}], endpoints: {dns: {name: "cart..internal", port: 0}}"#,
        ),
        &[
            r#"m.yaml:6:63: spec.endpoints.dns.name: "cart..internal" is not valid; expected a DNS name, like cart.internal"#,
            "m.yaml:6:87: spec.endpoints.dns.port: is the number 0; expected a whole number from 1 to 65535",
        ],
    ),
    (
        Wrong::Service("ports: [{port: 80, protocol: HTTP}], endpoints: {dns: {name: 10.0.0.1}}"),
        &[
            "m.yaml:6:63: spec.endpoints.dns.name: is an address, and `dns` takes a name; expected a name, or `static: [{address: …}]` in place of `dns`",
        ],
    ),
    (
        Wrong::Service(
            r#"ports: [{port: 80, protocol: HTTP}], endpoints: {static: [{address: "[fe80::1%2]:80"}]}"#,
        ),
        &[
            r#"m.yaml:6:70: spec.endpoints.static[0].address: "[fe80::1%2]:80" is not an address; expected an IP address like 10.0.0.1, 10.0.0.1:8080, fd00::1 or [fd00::1]:8080"#,
        ],
    ),
];
