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
    ] {
        assert_eq!(decide(Allow, std::slice::from_ref(&closed), None, ("GET", path)), Deny, "{path}");
    }
    for path in ["/public/../secret", "/public/%2e%2e/secret", "/x/../public", "/public%2f..%2fsecret"] {
        assert_eq!(decide(Deny, std::slice::from_ref(&open), None, ("GET", path)), Deny, "{path}");
    }
    for path in ["/public", "/public/a%20b", "/public/%", "/public/%zz", "/public/.well-known"] {
        assert_eq!(decide(Deny, std::slice::from_ref(&open), None, ("GET", path)), Allow, "{path}");
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
