//! What is said about mistakes. Each is pushed beside a mesh that is right, so that only the mistake is reported.

use super::load_text;

mod conditions;
mod connection_route;
mod filter;
mod grpc_route;
mod inbound;
mod inbound_tls;
mod kinds;
mod mesh;
mod policy;
mod resilience;
mod revocations;
mod route;
mod route_filter;
mod service;
mod text;
mod together;
mod traffic_policy;

/// A mesh of one service `web` with an HTTP port 80 and a TLS port 443, a host of its own and a policy.
const MESH: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: web}, spec: {hosts: [www.example], \
ports: [{name: http, port: 80, protocol: HTTP}, {name: tls, port: 443, protocol: TLS}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: web}, \
spec: {targetRefs: [{kind: Service, name: web}]}}
---
";

/// A service and its routes, in lines 5 to 10.
const DATABASE: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [{name: sql, port: 5432, protocol: TCP}, \
{name: tls, port: 443, protocol: TLS}, {name: http, port: 80, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: sql}, spec: {parentRefs: [{group: \"\", kind: Service, \
name: db}], rules: [{backendRefs: [{name: db, port: 443}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TLSRoute, metadata: {name: tls}, spec: {parentRefs: [{group: \"\", kind: Service, \
name: db}], hostnames: [a.example], rules: [{backendRefs: [{name: db, port: 443}]}]}}
---
";

/// Something with a mistake in it.
enum Wrong {
    /// A whole document.
    Text(&'static str),
    /// The spec of a `Service` named cart.
    Service(&'static str),
    /// The spec of an `HTTPRoute`.
    Route(&'static str),
    /// A rule of an `HTTPRoute` for web.
    Rule(&'static str),
    /// A rule of a `GRPCRoute` for a service `api` with a GRPC port 90 and an HTTP port 80, which is line 5.
    Grpc(&'static str),
    /// The spec of a `TCPRoute` beside one for the port 5432 of a service `db`, which has a TLS port 443 and an HTTP port 80 too.
    Tcp(&'static str),
    /// The spec of a `TLSRoute` beside the same.
    Tls(&'static str),
    /// The spec of a `BackendPolicy`.
    Policy(&'static str),
    /// What a `BackendPolicy` for the HTTP port of web says beside its target.
    Port(&'static str),
    /// The spec of an `XBackendTrafficPolicy`.
    Traffic(&'static str),
    /// The spec of an `InboundPolicy`.
    InboundPolicy(&'static str),
    /// What an `InboundPolicy` for the HTTP port of web says beside its target.
    Inbound(&'static str),
    /// The spec of a `RouteFilter`.
    Filter(&'static str),
    /// A rule of an `HTTPRoute` for web, in line 12; before it the `RouteFilter`s calls and other, whose limits have one name, and drill.
    Named(&'static str),
}

impl Wrong {
    /// The mesh with the mistake, which begins in line 5.
    fn text(&self) -> String {
        format!("{MESH}{}", self.resource())
    }

    fn resource(&self) -> String {
        let ours = "apiVersion: outrigger.dev/v1alpha1";
        let gateway = "apiVersion: gateway.networking.k8s.io/v1";
        let route = "apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: route}";
        let inbound = "kind: InboundPolicy, metadata: {name: policy}";
        let filter = |name: &str, spec: &str| {
            format!("{{{ours}, kind: RouteFilter, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n---\n")
        };
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Service(spec) => {
                format!("{{{ours}, kind: Service, metadata: {{name: cart}}, spec:\n{{{spec}}}}}")
            }
            Self::Route(spec) => format!("{{{route}, spec:\n{{{spec}}}}}"),
            Self::Rule(rule) => format!(
                "{{{route}, spec: {{parentRefs: [{{group: \"\", kind: Service, name: web}}], rules: [\n{rule}]}}}}"
            ),
            Self::Grpc(rule) => format!(
                "{{{ours}, kind: Service, metadata: {{name: api}}, spec: {{ports: [{{name: grpc, port: 90, protocol: GRPC}}, \
                 {{name: http, port: 80, protocol: HTTP}}]}}}}\n---\n{{{gateway}, kind: GRPCRoute, metadata: {{name: route}}, \
                 spec: {{parentRefs: [{{group: \"\", kind: Service, name: api}}], rules: [\n{rule}]}}}}"
            ),
            Self::Tcp(spec) => {
                format!("{DATABASE}{{{gateway}, kind: TCPRoute, metadata: {{name: z}}, spec:\n{{{spec}}}}}")
            }
            Self::Tls(spec) => {
                format!("{DATABASE}{{{gateway}, kind: TLSRoute, metadata: {{name: z}}, spec:\n{{{spec}}}}}")
            }
            Self::Policy(spec) => {
                format!("{{{ours}, kind: BackendPolicy, metadata: {{name: policy}}, spec:\n{{{spec}}}}}")
            }
            Self::Port(settings) => {
                let target = "targetRefs: [{kind: Service, name: web, sectionName: http}]";
                let policy = "kind: BackendPolicy, metadata: {name: policy}";
                format!("{{{ours}, {policy}, spec:\n{{{target}, {settings}}}}}")
            }
            Self::Traffic(spec) => format!(
                "{{apiVersion: gateway.networking.x-k8s.io/v1alpha1, kind: XBackendTrafficPolicy, \
                 metadata: {{name: traffic}}, spec:\n{{{spec}}}}}"
            ),
            Self::InboundPolicy(spec) => format!("{{{ours}, {inbound}, spec:\n{{{spec}}}}}"),
            Self::Inbound(settings) => {
                let target = "targetRefs: [{kind: Service, name: web, sectionName: http}]";
                format!("{{{ours}, {inbound}, spec:\n{{{target}, {settings}}}}}")
            }
            Self::Filter(spec) => {
                format!("{{{ours}, kind: RouteFilter, metadata: {{name: filter}}, spec:\n{{{spec}}}}}")
            }
            Self::Named(rule) => {
                let limit = "rateLimit: {name: calls, requests: 1, period: 1s}";
                let filters = [
                    filter("calls", limit),
                    filter("other", limit),
                    filter("drill", "fault: {abort: {percent: 1}}"),
                ];
                format!("{}{}", filters.concat(), Self::Rule(rule).resource())
            }
        }
    }
}

fn check(wrong: &Wrong, said: &[&str]) {
    let text = wrong.text();
    let problems = load_text(&text).expect_err(&text);
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(lines, said, "{text}");
}
