use std::collections::BTreeMap;

use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::conditions::REGEX_BYTES_MAX;
use super::*;
use crate::policy::{Backend, PathMatch, Protocol, RouteMatch, SCHEMA, TextMatch, ValueMatch};

fn any() -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix("/".into()), method: None, headers: vec![], query: vec![] }
}

fn path(path: PathMatch) -> RouteMatch {
    RouteMatch { path, ..any() }
}

fn prefix(text: &str) -> RouteMatch {
    path(PathMatch::Prefix(text.into()))
}

fn exact(text: &str) -> RouteMatch {
    path(PathMatch::Exact(text.into()))
}

fn regex(text: &str) -> RouteMatch {
    path(PathMatch::Regex(text.into()))
}

fn value(name: &str, value: TextMatch) -> ValueMatch {
    ValueMatch { name: name.into(), value }
}

fn port(number: u16, protocol: Protocol, rules: &[(&str, Vec<RouteMatch>)]) -> Port {
    let rule = |(name, matches): &(&str, Vec<RouteMatch>)| Rule {
        name: (*name).into(),
        grpc: false,
        matches: matches.clone(),
        filters: vec![],
        request_timeout_ms: None,
        try_timeout_ms: None,
        retry: None,
        backends: vec![],
    };
    Port {
        name: format!("p{number}"),
        port: number,
        target_port: number,
        protocol,
        rules: rules.iter().map(rule).collect(),
        connections: Vec::new(),
        inbound: None,
        proxy_protocol: None,
        backend: Backend::defaults_for(protocol),
    }
}

fn router(services: Vec<(&str, Vec<&str>, Vec<Port>)>) -> Router<String> {
    let services: BTreeMap<_, _> = services
        .into_iter()
        .map(|(name, hosts, ports)| {
            (
                name.parse().unwrap(),
                Service { mtls: None, hosts: hosts.into_iter().map(str::to_owned).collect(), ports },
            )
        })
        .collect();
    let policy = Policy { schema: SCHEMA, features: Default::default(), services, gateway: None };
    let name = |spec: RuleSpec<'_>| {
        spec.rule.map_or_else(|| spec.own_cluster().to_string(), |rule| rule.name.clone())
    };
    Router::build(&policy, "default", name).unwrap()
}

fn with_rules(rules: &[(&str, Vec<RouteMatch>)]) -> Router<String> {
    router(vec![("cart", vec![], vec![port(80, Protocol::Http, rules)])])
}

fn request(method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    RequestHead::new(method, host.parse().unwrap(), target.parse().unwrap(), map)
}

fn find(router: &Router<String>, target: &str) -> Result<String, Miss> {
    router.find(&request("GET", "cart", target, &[])).map(|found| found.rule.clone())
}

#[test]
fn a_service_is_found_by_each_of_its_hosts() {
    let ports =
        || vec![port(8080, Protocol::Http, &[]), port(80, Protocol::Http, &[]), port(25, Protocol::Tcp, &[])];
    let router = router(vec![
        ("cart", vec!["cart.example"], ports()),
        ("shop/cart", vec![], vec![port(8080, Protocol::Http, &[])]),
    ]);
    for (host, found) in [
        ("cart", Ok("default/cart:80")),
        ("cart:8080", Ok("default/cart:8080")),
        ("cart.default", Ok("default/cart:80")),
        ("CART.default.svc.:80", Ok("default/cart:80")),
        ("cart.example:8080", Ok("default/cart:8080")),
        ("cart.shop", Ok("shop/cart:8080")),
        ("cart.shop.svc:8080", Ok("shop/cart:8080")),
        ("cart:25", Err(Miss::Port)),
        ("cart.shop:80", Err(Miss::Port)),
        ("cart.other", Err(Miss::Host)),
        ("cart.default.svc.local", Err(Miss::Host)),
        ("other", Err(Miss::Host)),
    ] {
        let result = router.find(&request("GET", host, "/", &[])).map(|found| found.rule.as_str());
        assert_eq!(result, found, "{host}");
    }
}

#[test]
fn a_port_of_a_service_is_found_whatever_host_is_named() {
    let http = |number| port(number, Protocol::Http, &[]);
    let router =
        router(vec![("shop/cart", vec![], vec![http(80), http(81)]), ("other/cart", vec![], vec![http(80)])]);
    let head = request("GET", "10.0.0.1", "/", &[]);
    for (service, number, found) in [
        ("shop/cart", 81, Ok("shop/cart")),
        ("other/cart", 80, Ok("other/cart")),
        ("other/cart", 81, Err(Miss::Port)),
        ("other/db", 80, Err(Miss::Host)),
    ] {
        let at = router.find_at(&service.parse().unwrap(), number, &head);
        assert_eq!(at.map(|found| found.service.to_string()), found.map(str::to_owned), "{service}:{number}");
    }
    for (host, known) in
        [("cart.shop", true), ("cart.shop:81", true), ("cart.shop:82", false), ("nobody", false)]
    {
        assert_eq!(router.knows(request("GET", host, "/", &[]).authority()), known, "{host}");
    }
}

#[test]
fn prefixes_match_by_element_and_the_longest_wins() {
    let router =
        with_rules(&[("root", vec![prefix("/")]), ("a", vec![prefix("/a/")]), ("ab", vec![prefix("/a/b")])]);
    for (target, rule) in [
        ("/", "root"),
        ("/ab", "root"),
        ("/a", "a"),
        ("/a/", "a"),
        ("/a/bc", "a"),
        ("/a/b", "ab"),
        ("/a/b/c/d?x=/a", "ab"),
        ("//a", "root"),
        ("*", "root"),
    ] {
        assert_eq!(find(&router, target).as_deref(), Ok(rule), "{target}");
    }
    let narrow = with_rules(&[("a", vec![prefix("/a")])]);
    assert_eq!(find(&narrow, "/b"), Err(Miss::Rule));
}

#[test]
fn precedence_follows_the_gateway_api() {
    let header = |name: &str| value(name, TextMatch::Exact("1".into()));
    let router = with_rules(&[
        ("prefix", vec![prefix("/a")]),
        ("second", vec![prefix("/a")]),
        ("query", vec![RouteMatch { query: vec![header("q")], ..prefix("/a") }]),
        ("header", vec![RouteMatch { headers: vec![header("h")], ..prefix("/a") }]),
        ("method", vec![RouteMatch { method: Some("POST".into()), ..prefix("/a") }]),
        ("longer", vec![prefix("/a/b")]),
        ("regex", vec![regex("/a/[0-9]+")]),
        ("exact", vec![exact("/a/1")]),
    ]);
    for (method, target, headers, rule) in [
        ("GET", "/a", &[][..], "prefix"),
        ("GET", "/a?q=1", &[], "query"),
        ("GET", "/a?q=1", &[("h", "1")], "header"),
        ("POST", "/a?q=1", &[("h", "1")], "method"),
        ("POST", "/a/b?q=1", &[("h", "1")], "longer"),
        ("GET", "/a/12", &[], "regex"),
        ("GET", "/a/12x", &[], "prefix"),
        ("GET", "/a/1", &[], "exact"),
    ] {
        let found = router.find(&request(method, "cart", target, headers)).unwrap();
        assert_eq!(found.rule, rule, "{method} {target} {headers:?}");
    }
}

#[test]
fn an_unmet_condition_falls_through_to_the_next_match() {
    let only_posts = RouteMatch { method: Some("POST".into()), ..exact("/a/b") };
    let router = with_rules(&[("posts", vec![only_posts]), ("a", vec![prefix("/a")])]);
    assert_eq!(find(&router, "/a/b").as_deref(), Ok("a"));
}

#[test]
fn headers_and_parameters_are_compared_whole() {
    let both = RouteMatch {
        headers: vec![
            value("x-list", TextMatch::Exact("a, b".into())),
            value("host", TextMatch::Regex("cart(:80)?".into())),
        ],
        query: vec![value("na me", TextMatch::Regex("[a-z]+/".into()))],
        ..any()
    };
    let router = with_rules(&[("both", vec![both])]);
    for (target, headers, matches) in [
        ("/?na+me=abc%2f", &[("x-list", "a"), ("x-list", "b")][..], true),
        ("/?na%20me=abc/", &[("x-list", "a, b")], true),
        ("/?na%20me=abc/&na%20me=1", &[("x-list", "a, b")], true),
        ("/?na%20me=1&na%20me=abc/", &[("x-list", "a, b")], false),
        ("/?na%20me=abc/d", &[("x-list", "a, b")], false),
        ("/?na%20me=abc/", &[("x-list", "a")], false),
        ("/", &[("x-list", "a, b")], false),
    ] {
        let found = router.find(&request("GET", "cart", target, headers));
        assert_eq!(found.is_ok(), matches, "{target} {headers:?}");
    }
}

#[test]
fn the_matched_prefix_is_told() {
    let router =
        with_rules(&[("a", vec![prefix("/a/b/")]), ("x", vec![exact("/x")]), ("all", vec![prefix("/")])]);
    for (target, prefix) in [("/a/b/c", Some("/a/b")), ("/x", None), ("/y", Some(""))] {
        assert_eq!(router.find(&request("GET", "cart", target, &[])).unwrap().prefix, prefix, "{target}");
    }
}

#[test]
fn unusable_conditions_are_refused() {
    for bad in [
        regex("("),
        regex("a{1000}{1000}"),
        RouteMatch { method: Some("G T".into()), ..any() },
        RouteMatch { headers: vec![value("a b", TextMatch::Exact("".into()))], ..any() },
    ] {
        let policy = Policy {
            schema: SCHEMA,
            features: Default::default(),
            gateway: None,
            services: BTreeMap::from([(
                "cart".parse().unwrap(),
                Service {
                    mtls: None,
                    hosts: vec![],
                    ports: vec![port(80, Protocol::Http, &[("bad", vec![bad.clone()])])],
                },
            )]),
        };
        assert!(Router::build(&policy, "default", |_| ()).is_err(), "{bad:?}");
    }
    assert!(check_regex("a)(b").is_err());
}

#[test]
fn a_pattern_is_given_up_as_soon_as_it_is_too_large() {
    for pattern in [r"\w{900}", r"(?:\w{30}){30}"] {
        let Err(ConditionError::Regex { error, .. }) = check_regex(pattern) else {
            panic!("{pattern} was accepted");
        };
        assert_eq!(error, regex::Error::CompiledTooBig(REGEX_BYTES_MAX), "{pattern}");
    }
}

/// Rules of all kinds, in an order that is not theirs.
fn mixed() -> Vec<(&'static str, Vec<RouteMatch>)> {
    let header = |name: &str| value(name, TextMatch::Exact("1".into()));
    vec![
        ("root", vec![prefix("/")]),
        ("a", vec![prefix("/a/"), exact("/x")]),
        ("query", vec![RouteMatch { query: vec![header("q")], ..prefix("/a") }]),
        ("header", vec![RouteMatch { headers: vec![header("h")], ..prefix("/a") }]),
        ("method", vec![RouteMatch { method: Some("POST".into()), ..prefix("/a") }]),
        ("longer", vec![prefix("/a/b")]),
        ("regex", vec![regex("/a/[0-9]+")]),
        ("exact", vec![RouteMatch { method: Some("GET".into()), ..exact("/a/1") }]),
    ]
}

fn rule(name: &str, matches: &[RouteMatch]) -> Rule {
    port(80, Protocol::Http, &[(name, matches.to_vec())]).rules.remove(0)
}

#[test]
fn what_is_tried_ends_where_the_router_goes() {
    for skipped in 0..8 {
        let mut rules = mixed();
        rules.remove(skipped);
        let router = with_rules(&rules);
        let rules: Vec<Rule> = rules.iter().map(|(name, matches)| rule(name, matches)).collect();
        let targets =
            ["/", "/a", "/a/", "/a//", "/a//b", "/ab", "/a/b/c", "/a/12", "/a/1", "/x", "/x/", "/y", "*"];
        for target in targets.iter().flat_map(|target| [(*target).to_owned(), format!("{target}?q=1")]) {
            for (method, headers) in
                [("GET", &[][..]), ("POST", &[]), ("GET", &[("h", "1")]), ("POST", &[("h", "1")])]
            {
                let Ok(_) = target.parse::<http::uri::PathAndQuery>() else { continue };
                let head = request(method, "cart", &target, headers);
                let found = router.find(&head).ok().map(|found| found.rule.clone());
                let tried = trials(&rules, &head).unwrap();
                let met = tried.last().filter(|last| last.unmet.is_none()).map(|last| last.rule.name.clone());
                assert_eq!(met, found, "{method} {target} {headers:?} without rule {skipped}");
            }
        }
    }
}

#[test]
fn what_is_missing_is_told() {
    let rules: Vec<Rule> = mixed().iter().map(|(name, matches)| rule(name, matches)).collect();
    let tried = trials(&rules, &request("PUT", "cart", "/a/1x", &[])).unwrap();
    let told: Vec<_> = tried.iter().map(|trial| (&*trial.rule.name, trial.unmet)).collect();
    assert_eq!(
        told,
        [
            ("exact", Some(Unmet::Path)),
            ("a", Some(Unmet::Path)),
            ("regex", Some(Unmet::Path)),
            ("longer", Some(Unmet::Path)),
            ("method", Some(Unmet::Method)),
            ("header", Some(Unmet::Header(0))),
            ("query", Some(Unmet::Query(0))),
            ("a", None),
        ]
    );
}
