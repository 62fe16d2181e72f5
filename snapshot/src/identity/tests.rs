use super::*;

fn domain() -> TrustDomain {
    "mesh.example.org".parse().unwrap()
}

#[test]
fn the_id_of_a_service_says_which() {
    let service: ServiceName = "shop/cart".parse().unwrap();
    let id = SpiffeId::of_service(&domain(), &service);
    assert_eq!(id.as_str(), "spiffe://mesh.example.org/ns/shop/svc/cart");
    assert_eq!((id.domain(), id.service()), ("mesh.example.org", Some(service)));
    assert_eq!(id.as_str().parse(), Ok(id));
    for other in
        ["spiffe://a/ns/shop/sa/cart", "spiffe://a/ns/shop/svc/cart/x", "spiffe://a/ns/Shop/svc/cart"]
    {
        assert_eq!(other.parse::<SpiffeId>().unwrap().service(), None, "{other}");
    }
}

#[test]
fn what_is_no_id_is_refused() {
    let long = format!("spiffe://a/{}", "x".repeat(ID_BYTES_MAX));
    for text in [
        "",
        "spiffe://",
        "spiffe:///a",
        "spiffe://a",
        "spiffe://a/",
        "spiffe://a/b/",
        "spiffe://a//b",
        "spiffe://a/./b",
        "spiffe://a/..",
        "spiffe://a/b?c",
        "spiffe://a/b#c",
        "spiffe://a/%41",
        "spiffe://A/b",
        "SPIFFE://a/b",
        "spiffe://a:8443/b",
        "spiffe://user@a/b",
        "https://a/b",
        "spiffe://a/ü",
        &long,
    ] {
        assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
    }
    for text in ["", "a..b", ".a", "a.", "a_b", "A", &"a.".repeat(60)] {
        assert!(text.parse::<TrustDomain>().is_err(), "{text:?}");
    }
}

#[test]
fn patterns_match_whole_elements() {
    for (pattern, id, matches) in [
        ("spiffe://a/ns/shop/svc/cart", "spiffe://a/ns/shop/svc/cart", true),
        ("spiffe://a/ns/shop/svc/cart", "spiffe://a/ns/shop/svc/cart2", false),
        ("spiffe://a/ns/shop/svc/cart", "spiffe://b/ns/shop/svc/cart", false),
        ("spiffe://a/ns/shop/svc/*", "spiffe://a/ns/shop/svc/cart", true),
        ("spiffe://a/ns/*/svc/cart", "spiffe://a/ns/shop/svc/cart", true),
        ("spiffe://a/ns/*/svc/cart", "spiffe://a/ns/shop/x/svc/cart", false),
        ("spiffe://a/ns/shop/svc/*", "spiffe://a/ns/shop/svc/cart/x", false),
        ("spiffe://a/ns/shop/*", "spiffe://a/ns/shop/svc/cart", false),
        ("spiffe://a/ns/shop/**", "spiffe://a/ns/shop/svc/cart", true),
        ("spiffe://a/ns/shop/**", "spiffe://a/ns/shop", false),
        ("spiffe://a/**", "spiffe://a/x", true),
        ("spiffe://a/**", "spiffe://ab/x", false),
    ] {
        let (parsed, id) = (pattern.parse::<SpiffePattern>().unwrap(), id.parse().unwrap());
        assert_eq!(parsed.matches(&id), matches, "{pattern} {id}");
    }
}

#[test]
fn what_is_no_pattern_is_refused() {
    for text in [
        "*",
        "**",
        "spiffe://*/a",
        "spiffe://a/**/b",
        "spiffe://a/x*",
        "spiffe://a/",
        "spiffe://a",
        "spiffe://a/***",
    ] {
        assert!(text.parse::<SpiffePattern>().is_err(), "{text:?}");
    }
}

#[test]
fn server_names_round_trip() {
    let name = ServerName { service: "shop/cart".parse().unwrap(), port: 80 };
    assert_eq!(name.text(&domain()), "p80.cart.shop.mesh.example.org");
    assert_eq!(ServerName::read("p80.cart.shop.mesh.example.org", &domain()), Some(name));
    for text in [
        "cart.shop.mesh.example.org",
        "p80.cart.shop.example.org",
        "p080.cart.shop.mesh.example.org",
        "p0.cart.shop.mesh.example.org",
        "p65536.cart.shop.mesh.example.org",
        "p80.cart.mesh.example.org",
        "p80.a.b.c.mesh.example.org",
        "p80.cart.shopmesh.example.org",
        "",
    ] {
        assert_eq!(ServerName::read(text, &domain()), None, "{text:?}");
    }
}
