//! From content to an answered request.

use std::sync::LazyLock;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use outrigger_filters::{Context, Flow};
use outrigger_proxy::plan::{Local, Plan, Resolved, Version};
use outrigger_proxy::registry::Registry;
use outrigger_snapshot::canonical;
use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::head::{RequestHead, ResponseHead};
use outrigger_snapshot::policy::{PathMatch, Policy, RouteMatch, TextMatch};
use serde::Serialize;

/// Between a policy and the facts that are tried with it: no JSON holds this byte.
const SEPARATOR: u8 = 0;

/// Matches of a policy that a request is made for.
const MATCHES_TRIED: usize = 16;

/// What stands in for the half of a pair that an input does not give.
static SOUND: LazyLock<(Policy, Facts)> = LazyLock::new(|| {
    let policy = Policy::decode(include_bytes!("../seeds/contents/policy.json"));
    let facts = Facts::decode(include_bytes!("../seeds/contents/facts.json"));
    (policy.expect("the seed is sound"), facts.expect("the seed is sound"))
});

/// Decodes a policy, facts, or both; builds a plan of what was accepted, and carries requests through it.
pub fn exercise(bytes: &[u8]) {
    let mut halves = bytes.splitn(2, |byte| *byte == SEPARATOR);
    let first = halves.next().unwrap_or_default();
    let policy = Policy::decode(first).ok();
    let facts = Facts::decode(halves.next().unwrap_or(first)).ok();
    if let Some(policy) = &policy {
        assert_canonical(policy, |bytes| Policy::decode(bytes).ok());
    }
    if let Some(facts) = &facts {
        assert_canonical(facts, |bytes| Facts::decode(bytes).ok());
    }
    if policy.is_some() || facts.is_some() {
        run(policy.as_ref().unwrap_or(&SOUND.0), facts.as_ref().unwrap_or(&SOUND.1));
    }
}

/// What was accepted has a canonical form, which is accepted, means the same, and is its own canonical form.
fn assert_canonical<T: Serialize + PartialEq>(value: &T, decode: impl Fn(&[u8]) -> Option<T>) {
    let written = canonical::encode(value).expect("what was decoded can be encoded");
    let again = decode(&written).expect("what was encoded can be decoded");
    assert!(again == *value, "encoding changed the content");
    assert_eq!(canonical::encode(&again).expect("as before"), written, "there are two canonical forms");
}

fn run(policy: &Policy, facts: &Facts) {
    let local = Local {
        service: "cart".parse().expect("a label is a service name"),
        node: "cart-1".into(),
        zone: None,
        app: None,
        identity: true,
        transparent: true,
        detail: Default::default(),
    };
    let (resolved, mut registry) = (Resolved::new(), Registry::new(1));
    let Ok(plan) = Plan::build(policy, facts, &local, &resolved, &mut registry, Version::default()) else {
        return;
    };
    for path in ["/", "/v2/cart?beta=yes", "*", "//"] {
        carry(&plan, head("cart:80", PathAndQuery::from_static(path)));
    }
    let mut tried = 0;
    for (service, spec) in &policy.services {
        for port in &spec.ports {
            let authority = format!("{}.{}:{}", service.name(), service.namespace(), port.port);
            for route_match in port.rules.iter().flat_map(|rule| &rule.matches) {
                tried += 1;
                if tried > MATCHES_TRIED {
                    return;
                }
                if let Some(head) = meant_for(route_match, &authority) {
                    carry(&plan, head);
                }
            }
        }
    }
}

fn head(authority: &str, path: PathAndQuery) -> RequestHead {
    let authority = authority.parse().expect("two labels and a port are an authority");
    RequestHead::new(Method::GET, authority, path, HeaderMap::new())
}

/// A request that a match was probably written for; its patterns stand for themselves.
fn meant_for(route_match: &RouteMatch, authority: &str) -> Option<RequestHead> {
    let (PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Regex(path)) = &route_match.path;
    let query =
        route_match.query.iter().map(|parameter| format!("{}={}", parameter.name, text(&parameter.value)));
    let query: Vec<String> = query.collect();
    let path = format!("{path}?{}", query.join("&")).parse().ok()?;
    let (_, authority, path, mut headers) = head(authority, path).into_parts();
    for header in &route_match.headers {
        let value = HeaderValue::from_str(text(&header.value)).ok()?;
        headers.append(HeaderName::from_bytes(header.name.as_bytes()).ok()?, value);
    }
    let method = route_match.method.as_ref().map_or(Ok(Method::GET), |method| method.parse()).ok()?;
    let head = RequestHead::new(method, authority, path, headers);
    head.path().starts_with('/').then_some(head)
}

fn text(value: &TextMatch) -> &str {
    let (TextMatch::Exact(text) | TextMatch::Regex(text)) = value;
    text
}

/// Routes a request, runs the filters of its rule and of every destination, and picks endpoints.
fn carry(plan: &Plan, mut head: RequestHead) {
    let Ok(found) = plan.outbound.find(&head) else { return };
    if let Some(prefix) = found.prefix {
        let rest = head.path().strip_prefix(prefix).expect("a prefix begins the path");
        assert!(rest.is_empty() || rest.starts_with('/') || rest == "*", "{prefix:?} cuts an element");
    }
    for random in [0, 1, u64::MAX] {
        let drawn = found.rule.draw(random);
        assert_eq!(
            drawn.is_some(),
            found.rule.weight_total > 0,
            "there is weight, so there is a destination"
        );
    }
    let mut context = Context { prefix_bytes: found.prefix.map(str::len), ..Context::default() };
    if found.rule.filters.on_request(&mut head, &mut context) != Flow::Continue {
        return;
    }
    for destination in &found.rule.destinations {
        let (mut head, mut context) = (head.clone(), context.clone());
        let flow = destination.filters.on_request(&mut head, &mut context);
        assert!(flow != Flow::Continue || !head.path().is_empty(), "a path is never empty");
        let mut response = ResponseHead::new(StatusCode::OK, HeaderMap::new());
        destination.filters.on_response(&mut response);
        found.rule.filters.on_response(&mut response);
    }
}
