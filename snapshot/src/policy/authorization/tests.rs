use super::*;

fn rule(access: Access) -> AccessRule {
    AccessRule { name: "rule".into(), access, about: Conditions::default() }
}

fn decide(default: Access, rules: &[AccessRule], identity: Option<&str>, request: (&str, &str)) -> Access {
    let identity = identity.map(|text| text.parse().unwrap());
    let subject = Subject::new(identity.as_ref(), request.0, request.1);
    Authorization { default, rules: rules.to_vec(), dry_run: false }.decide(&subject).0
}

const FRONT: Option<&str> = Some("spiffe://a/ns/shop/svc/front");

#[test]
fn the_default_holds_where_no_rule_is_about_a_request_and_denial_wins() {
    use Access::{Allow, Deny};
    for access in [Allow, Deny] {
        assert_eq!(decide(access, &[], None, ("GET", "/")), access);
    }
    let everything = [rule(Allow), rule(Deny)];
    assert_eq!(decide(Allow, &everything, FRONT, ("GET", "/")), Deny);
    assert_eq!(decide(Deny, &everything[..1], None, ("GET", "/")), Allow, "also of callers without identity");
}

#[test]
fn a_rule_is_about_what_has_all_that_it_lists() {
    use Access::{Allow, Deny};
    let about = |about: Conditions| AccessRule { about, ..rule(Allow) };
    let of =
        |identity: &str| Conditions { identities: vec![identity.parse().unwrap()], ..Conditions::default() };
    let named = |identity: &str| about(of(identity));
    let placed =
        |namespace: &str| about(Conditions { namespaces: vec![namespace.into()], ..Conditions::default() });
    let both = about(Conditions { namespaces: vec!["other".into()], ..of("spiffe://a/ns/*/svc/front") });
    let methods = about(Conditions { methods: vec!["GET".into(), "HEAD".into()], ..Conditions::default() });
    let at = |path: PathMatch| about(Conditions { paths: vec![path], ..Conditions::default() });
    let exact = at(PathMatch::Exact("/orders".into()));
    let below = at(PathMatch::Prefix("/orders/".into()));
    let root = at(PathMatch::Prefix("/".into()));
    for (rule, identity, request, access) in [
        (&named("spiffe://a/ns/shop/svc/*"), FRONT, ("GET", "/"), Allow),
        (&named("spiffe://a/ns/shop/svc/cart"), FRONT, ("GET", "/"), Deny),
        (&named("spiffe://a/**"), None, ("GET", "/"), Deny),
        (&placed("shop"), FRONT, ("GET", "/"), Allow),
        (&placed("other"), FRONT, ("GET", "/"), Deny),
        (&placed("shop"), Some("spiffe://a/shop"), ("GET", "/"), Deny),
        (&both, FRONT, ("GET", "/"), Deny),
        (&methods, FRONT, ("HEAD", "/"), Allow),
        (&methods, FRONT, ("POST", "/"), Deny),
        (&exact, None, ("GET", "/orders"), Allow),
        (&exact, None, ("GET", "/orders/1"), Deny),
        (&below, None, ("GET", "/orders"), Allow),
        (&below, None, ("GET", "/orders/1"), Allow),
        (&below, None, ("GET", "/orders2"), Deny),
        (&root, None, ("GET", "/orders2"), Allow),
    ] {
        assert_eq!(
            decide(Deny, std::slice::from_ref(rule), identity, request),
            access,
            "{rule:?} {request:?}"
        );
    }
}

#[test]
fn no_way_to_write_a_path_passes_by_a_rule() {
    use Access::{Allow, Deny};
    let at = |access, prefix: &str| {
        let paths = vec![PathMatch::Prefix(prefix.into())];
        AccessRule { about: Conditions { paths, ..Conditions::default() }, ..rule(access) }
    };
    let (closed, open) = (at(Deny, "/admin"), at(Allow, "/public"));
    for path in [
        "/admin",
        "/%61dmin",
        "/%61%64%6d%69%6E/x",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x%2f..%2Fadmin",
        "/\\admin",
        "/%5cadmin",
        "/admin/../public",
        "/../admin",
        "/admin;x",
        "/admin;x=1/y",
        "/x/..;/admin",
        "/x/..;a=b/admin",
        "/x/%2e%2e;/admin",
        "/x/..%3b/admin",
        "/%2561dmin",
        "/x/%252e%252e/admin",
        "/x%252f..%252fadmin",
        "/x//..//admin",
        "/;/admin",
        "/.;/admin",
    ] {
        assert_eq!(decide(Allow, std::slice::from_ref(&closed), None, ("GET", path)), Deny, "{path}");
    }
    // A server that merges no slashes finds one more segment to go up from, and one that drops parameters first, one less.
    let deeper = at(Deny, "/public/admin");
    for path in
        ["/public/%2f../admin", "/public//../admin", "/public;%2f../admin", "/public/x;%2f../../admin"]
    {
        assert_eq!(decide(Allow, std::slice::from_ref(&deeper), None, ("GET", path)), Deny, "{path}");
    }
    // A rule whose path can't be written without escapes means what they stand for.
    for path in ["/a%20b", "/%61%20b/c", "/x/../a%20b", "/%61%2520b"] {
        let closed = at(Deny, "/a%20b");
        assert_eq!(decide(Allow, std::slice::from_ref(&closed), None, ("GET", path)), Deny, "{path}");
    }
    assert_eq!(decide(Deny, &[at(Allow, "/a%20b")], None, ("GET", "/a%20b/c")), Allow);
    for path in [
        "/public/../secret",
        "/public/%2e%2e/secret",
        "/x/../public",
        "/public%2f..%2fsecret",
        "/public/..;/secret",
        "/public;x",
        "/public/%252e%252e/secret",
    ] {
        assert_eq!(decide(Deny, std::slice::from_ref(&open), None, ("GET", path)), Deny, "{path}");
    }
    for path in [
        "/public",
        "/public/a%20b",
        "/public/%",
        "/public/%zz",
        "/public/.well-known",
        "/public/a;v=1",
        "/public/100%25",
    ] {
        assert_eq!(decide(Deny, std::slice::from_ref(&open), None, ("GET", path)), Allow, "{path}");
    }
}

#[test]
fn whoever_denies_a_method_or_everything_means_it_however_it_is_written() {
    use Access::{Allow, Deny};
    let methods = Conditions { methods: vec!["DELETE".into()], ..Conditions::default() };
    let paths = Conditions { paths: vec![PathMatch::Prefix("/".into())], ..Conditions::default() };
    let with = |access, about: &Conditions| [AccessRule { about: about.clone(), ..rule(access) }];
    for method in ["DELETE", "delete", "Delete"] {
        assert_eq!(decide(Allow, &with(Deny, &methods), None, (method, "/")), Deny, "{method}");
    }
    assert_eq!(decide(Deny, &with(Allow, &methods), None, ("delete", "/")), Deny, "another method");
    assert_eq!(decide(Allow, &with(Deny, &methods), None, ("DELET", "/")), Allow);
    assert_eq!(decide(Allow, &with(Deny, &paths), None, ("OPTIONS", "*")), Deny, "all there is");
    assert_eq!(decide(Deny, &with(Allow, &paths), None, ("OPTIONS", "*")), Deny, "no path below any");
}

#[test]
fn names_that_begin_alike_are_others() {
    use Access::{Allow, Deny};
    let placed = Conditions { namespaces: vec!["sho".into()], ..Conditions::default() };
    let named =
        |pattern: &str| Conditions { identities: vec![pattern.parse().unwrap()], ..Conditions::default() };
    for (about, identity, access) in [
        (&placed, "spiffe://a/ns/shop/svc/front", Deny),
        (&placed, "spiffe://a/ns/sho/svc/front", Allow),
        (&placed, "spiffe://a/ns/sho/svc/front/x", Deny),
        (&placed, "spiffe://a/x/ns/sho/svc/front", Deny),
        (&named("spiffe://a/ns/sho/**"), "spiffe://a/ns/shop/svc/front", Deny),
        (&named("spiffe://a/ns/sho/**"), "spiffe://a/ns/sho/svc/front", Allow),
        (&named("spiffe://a/ns/sho/**"), "spiffe://a/ns/sho", Deny),
        (&named("spiffe://a/ns/sho/**"), "spiffe://ab/ns/sho/svc/front", Deny),
        (&named("spiffe://a/ns/sho/svc/*"), "spiffe://a/ns/sho/svc/front/x", Deny),
        (&named("spiffe://a/ns/*/svc/front"), "spiffe://a/ns/sho/svc/frontend", Deny),
        (&named("spiffe://a/ns/*/svc/front"), "spiffe://a/ns/sho/svc/FRONT", Deny),
        (&named("spiffe://a/*"), "spiffe://a/ns/sho/svc/front", Deny),
    ] {
        let rules = [AccessRule { about: about.clone(), ..rule(Allow) }];
        assert_eq!(decide(Deny, &rules, Some(identity), ("GET", "/")), access, "{about:?} {identity}");
    }
}

#[test]
fn sources_are_the_addresses_that_networks_cover() {
    use Access::{Allow, Deny};
    let sources = ["10.1.0.0/16", "2001:db8::/32", "192.0.2.7"].map(|text| text.parse().unwrap()).to_vec();
    let rules = vec![AccessRule { about: Conditions { sources, ..Conditions::default() }, ..rule(Allow) }];
    let authorization = Authorization { default: Deny, rules, dry_run: false };
    for (source, access) in [
        (Some("10.1.255.1"), Allow),
        (Some("::ffff:10.1.0.9"), Allow),
        (Some("10.2.0.1"), Deny),
        (Some("2001:db8:1::1"), Allow),
        (Some("2001:db9::1"), Deny),
        (Some("192.0.2.7"), Allow),
        (Some("192.0.2.70"), Deny),
        (None, Deny),
    ] {
        let source = source.map(|text| text.parse().unwrap());
        for subject in [Subject::new(None, "GET", "/"), Subject::of_connection(None)] {
            assert_eq!(authorization.decide(&subject.at(source)).0, access, "{source:?}");
        }
    }
}

#[test]
fn rules_about_requests_are_not_about_connections() {
    use Access::{Allow, Deny};
    let front: SpiffeId = FRONT.unwrap().parse().unwrap();
    let about = |about: Conditions| AccessRule { about, ..rule(Allow) };
    let placed = Conditions { namespaces: vec!["shop".into()], ..Conditions::default() };
    let methods = Conditions { methods: vec!["GET".into()], ..placed.clone() };
    let paths = Conditions { paths: vec![PathMatch::Prefix("/".into())], ..placed.clone() };
    for (conditions, identity, access) in [
        (&Conditions::default(), None, Allow),
        (&placed, Some(&front), Allow),
        (&placed, None, Deny),
        (&methods, Some(&front), Deny),
        (&paths, Some(&front), Deny),
    ] {
        let authorization =
            Authorization { default: Deny, rules: vec![about(conditions.clone())], dry_run: false };
        let subject = Subject::of_connection(identity);
        assert_eq!(authorization.decide(&subject).0, access, "{conditions:?}");
        assert_eq!(conditions.needs_request(), [&methods, &paths].contains(&conditions));
    }
}
