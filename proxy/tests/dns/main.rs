//! The resolver against DNS servers: a real dnsmasq, killed, frozen and restarted, and a responder that misbehaves to order.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails where it stands")]

mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_proxy::resolve::state::{Failure, Nothing};
use outrigger_proxy::resolve::{
    Change, NameMetrics, Query, Remembered, ResolvedEndpoint, Resolver, ResolverConfig, Target,
};
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::OnEmpty;
use tokio::time::{Instant, timeout};

use crate::server::{Dnsmasq, REFUSED, Reply, Responder, SERVFAIL};

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn cluster(name: &str) -> ClusterName {
    format!("{name}:80").parse().unwrap()
}

fn addresses(name: &str) -> Query {
    Query::Addresses { name: name.to_owned(), port: 8080 }
}

fn targets(names: &[(&str, Query)], on_empty: OnEmpty) -> BTreeMap<ClusterName, Target> {
    names.iter().map(|(name, query)| (cluster(name), Target { query: query.clone(), on_empty })).collect()
}

fn cart(on_empty: OnEmpty) -> BTreeMap<ClusterName, Target> {
    targets(&[("cart", addresses("cart.mesh"))], on_empty)
}

fn endpoints(of: &[(&str, u32)]) -> Vec<ResolvedEndpoint> {
    let endpoint = |(address, weight): &(&str, u32)| ResolvedEndpoint {
        address: address.parse().unwrap(),
        weight: *weight,
    };
    of.iter().map(endpoint).collect()
}

fn resolver(server: SocketAddr, stale_ttl: Duration, remembered: Vec<Remembered>) -> Resolver {
    let ttl_min = Duration::from_millis(100);
    Resolver::new(ResolverConfig { nameservers: vec![server], stale_ttl, ttl_min }, remembered).unwrap()
}

/// The next change, which must be one of `name`.
async fn changed(resolver: &mut Resolver, name: &str) -> Vec<ResolvedEndpoint> {
    let change = timeout(PATIENCE, resolver.next_change()).await.expect("a change in time");
    assert_eq!(change.cluster, cluster(name));
    change.endpoints.to_vec()
}

/// Lets the resolver work until `reached`; returns the changes on the way.
async fn work_until(resolver: &mut Resolver, reached: impl Fn(&Resolver) -> bool) -> Vec<Change> {
    let deadline = Instant::now() + PATIENCE;
    let mut changes = Vec::new();
    while !reached(resolver) {
        assert!(Instant::now() < deadline, "not reached; {changes:?}");
        changes.extend(timeout(Duration::from_millis(10), resolver.next_change()).await);
    }
    changes
}

fn name_of(resolver: &Resolver, name: &str) -> Arc<NameMetrics> {
    let names = resolver.metrics().names();
    names.iter().find(|found| found.cluster == cluster(name)).expect("the name is watched").clone()
}

fn is(state: &'static str) -> impl Fn(&Resolver) -> bool {
    move |resolver| name_of(resolver, "cart").freshness().name() == state
}

#[tokio::test]
async fn both_families_arrive_and_follow_the_records() {
    let mut dnsmasq =
        Dnsmasq::start(&["--host-record=cart.mesh,10.0.0.2,::1", "--host-record=cart.mesh,10.0.0.1"]);
    let mut resolver = resolver(dnsmasq.address(), PATIENCE, vec![]);
    resolver.set_targets(&cart(OnEmpty::Keep));
    assert_eq!(
        changed(&mut resolver, "cart").await,
        endpoints(&[("10.0.0.1:8080", 1), ("10.0.0.2:8080", 1), ("[::1]:8080", 1)])
    );
    dnsmasq.restart(&["--host-record=cart.mesh,10.0.0.3"]);
    assert_eq!(changed(&mut resolver, "cart").await, endpoints(&[("10.0.0.3:8080", 1)]));
    assert!(is("fresh")(&resolver));
    assert_eq!(name_of(&resolver, "cart").endpoints(), 1);
}

#[tokio::test]
async fn the_targets_of_the_lowest_priority_share_by_weight() {
    let dnsmasq = Dnsmasq::start(&[
        "--srv-host=_http._tcp.cart.mesh,a.mesh,9001,10,30",
        "--srv-host=_http._tcp.cart.mesh,b.mesh,9002,10,10",
        "--srv-host=_http._tcp.cart.mesh,gone.mesh,9003,10,10",
        "--srv-host=_http._tcp.cart.mesh,c.mesh,9004,20,99",
        "--host-record=a.mesh,10.0.0.1",
        "--host-record=b.mesh,10.0.0.2",
        "--host-record=c.mesh,10.0.0.3",
    ]);
    let mut resolver = resolver(dnsmasq.address(), PATIENCE, vec![]);
    let query = Query::Srv { name: "_http._tcp.cart.mesh.".to_owned() };
    resolver.set_targets(&targets(&[("cart", query)], OnEmpty::Keep));
    assert_eq!(
        changed(&mut resolver, "cart").await,
        endpoints(&[("10.0.0.1:9001", 3), ("10.0.0.2:9002", 1)])
    );
}

#[tokio::test]
async fn a_server_that_fails_in_any_way_takes_nothing_away() {
    const IP: [u8; 4] = [10, 0, 0, 9];
    let responder = Responder::start(Reply::Address(IP));
    let mut resolver = resolver(responder.address(), Duration::ZERO, vec![]);
    resolver.set_targets(&cart(OnEmpty::Drain));
    assert_eq!(changed(&mut resolver, "cart").await, endpoints(&[("10.0.0.9:8080", 1)]));

    let too_slow = Reply::AddressAfter(Duration::from_secs(8), IP);
    let failures = [
        (SERVFAIL, Failure::ServerFailure),
        (REFUSED, Failure::Refused),
        (Reply::Silence, Failure::Timeout),
        (too_slow, Failure::Timeout),
    ];
    for (reply, failure) in failures {
        let before = resolver.metrics().failures(failure);
        responder.reply_with(reply);
        let stale = work_until(&mut resolver, is("stale")).await;
        assert_eq!(stale, [], "{reply:?}");
        assert!(resolver.metrics().failures(failure) > before, "{reply:?} is counted as {failure:?}");
        work_until(&mut resolver, |r| name_of(r, "cart").stale_for() > Duration::ZERO).await;
        responder.reply_with(Reply::Address(IP));
        assert_eq!(work_until(&mut resolver, is("fresh")).await, [], "{reply:?}");
        assert_eq!(name_of(&resolver, "cart").stale_for(), Duration::ZERO);
    }
    responder.reply_with(Reply::Garbage);
    assert_eq!(work_until(&mut resolver, is("stale")).await, []);

    let slow = Reply::AddressAfter(Duration::from_secs(1), [10, 0, 0, 8]);
    responder.reply_with(slow);
    assert_eq!(changed(&mut resolver, "cart").await, endpoints(&[("10.0.0.8:8080", 1)]));
}

#[tokio::test]
async fn a_server_frozen_or_dead_takes_nothing_away() {
    let record = "--host-record=cart.mesh,10.0.0.1";
    let mut dnsmasq = Dnsmasq::start(&[record]);
    let mut resolver = resolver(dnsmasq.address(), Duration::ZERO, vec![]);
    resolver.set_targets(&cart(OnEmpty::Drain));
    assert_eq!(changed(&mut resolver, "cart").await, endpoints(&[("10.0.0.1:8080", 1)]));

    dnsmasq.freeze();
    assert_eq!(work_until(&mut resolver, is("stale")).await, []);
    assert!(resolver.metrics().failures(Failure::Timeout) > 0);
    dnsmasq.thaw();
    assert_eq!(work_until(&mut resolver, is("fresh")).await, []);

    dnsmasq.kill();
    assert_eq!(work_until(&mut resolver, is("stale")).await, []);
    dnsmasq.restart(&[record]);
    assert_eq!(work_until(&mut resolver, is("fresh")).await, []);
}

#[tokio::test]
async fn nothing_there_is_believed_after_the_stale_time() {
    let gone = [&[][..], &["--txt-record=cart.mesh,here"]];
    for (records, reason) in gone.into_iter().zip([Nothing::NoSuchName, Nothing::Empty]) {
        let mut dnsmasq = Dnsmasq::start(&["--host-record=cart.mesh,10.0.0.1"]);
        let stale_ttl = Duration::from_secs(2);
        let mut resolver = resolver(dnsmasq.address(), stale_ttl, vec![]);
        resolver.set_targets(&cart(OnEmpty::Keep));
        changed(&mut resolver, "cart").await;

        dnsmasq.restart(records);
        assert_eq!(work_until(&mut resolver, is("withdrawn")).await, [], "{reason:?}");
        let withdrawn = Instant::now();
        assert!(resolver.metrics().nothing(reason) > 0, "{reason:?}");
        assert_eq!(changed(&mut resolver, "cart").await, []);
        assert!(withdrawn.elapsed() > stale_ttl / 2, "{reason:?}: not believed at once");
        assert!(is("empty")(&resolver));
    }
}

#[tokio::test]
async fn nothing_there_is_believed_at_once_where_it_drains() {
    let mut dnsmasq = Dnsmasq::start(&["--host-record=cart.mesh,10.0.0.1"]);
    let mut resolver = resolver(dnsmasq.address(), Duration::MAX, vec![]);
    resolver.set_targets(&cart(OnEmpty::Drain));
    changed(&mut resolver, "cart").await;
    dnsmasq.restart(&[]);
    assert_eq!(changed(&mut resolver, "cart").await, []);
}

#[tokio::test]
async fn a_name_is_found_soon_after_dns_comes_up() {
    let mut dnsmasq = Dnsmasq::start(&[]);
    dnsmasq.kill();
    let mut resolver = resolver(dnsmasq.address(), PATIENCE, vec![]);
    resolver.set_targets(&cart(OnEmpty::Keep));
    assert_eq!(resolver.unasked(), 1);
    assert_eq!(work_until(&mut resolver, |resolver| resolver.unasked() == 0).await, []);
    assert!(is("unresolved")(&resolver));
    dnsmasq.restart(&["--host-record=cart.mesh,10.0.0.1"]);
    assert_eq!(changed(&mut resolver, "cart").await, endpoints(&[("10.0.0.1:8080", 1)]));
}

#[tokio::test]
async fn a_start_without_dns_goes_on_with_what_is_remembered() {
    let mut dnsmasq =
        Dnsmasq::start(&["--host-record=cart.mesh,10.0.0.1", "--host-record=shop.mesh,10.0.0.2"]);
    let mut first = resolver(dnsmasq.address(), PATIENCE, vec![]);
    let both =
        |cart: &str| targets(&[("cart", addresses(cart)), ("shop", addresses("shop.mesh"))], OnEmpty::Keep);
    first.set_targets(&both("cart.mesh"));
    work_until(&mut first, |resolver| resolver.remembered().len() == 2).await;
    let kept = serde_json::to_string(&first.remembered()).unwrap();
    drop(first);

    dnsmasq.kill();
    let mut second = resolver(dnsmasq.address(), PATIENCE, serde_json::from_str(&kept).unwrap());
    second.set_targets(&both("other.mesh"));
    let changes = work_until(&mut second, |resolver| resolver.unasked() == 0).await;
    let shop = Change { cluster: cluster("shop"), endpoints: endpoints(&[("10.0.0.2:8080", 1)]).into() };
    assert_eq!(changes, [shop], "what answered another question does not count");
    assert_eq!(name_of(&second, "shop").freshness().name(), "remembered");
    assert_eq!(name_of(&second, "cart").freshness().name(), "unresolved");
}

#[tokio::test]
async fn names_come_and_go_without_disturbing_others() {
    let dnsmasq = Dnsmasq::start(&[
        "--host-record=cart.mesh,10.0.0.1",
        "--host-record=shop.mesh,10.0.0.2",
        "--host-record=new.mesh,10.0.0.3",
    ]);
    let mut resolver = resolver(dnsmasq.address(), PATIENCE, vec![]);
    resolver.set_targets(&cart(OnEmpty::Keep));
    changed(&mut resolver, "cart").await;
    let before = name_of(&resolver, "cart");

    let cart_name = ("cart", addresses("cart.mesh"));
    resolver.set_targets(&targets(&[cart_name.clone(), ("shop", addresses("shop.mesh"))], OnEmpty::Keep));
    assert_eq!(changed(&mut resolver, "shop").await, endpoints(&[("10.0.0.2:8080", 1)]));
    assert!(Arc::ptr_eq(&before, &name_of(&resolver, "cart")), "still the same name");

    let moved = |name| targets(&[cart_name.clone(), ("shop", addresses(name))], OnEmpty::Keep);
    resolver.set_targets(&moved("typo.mesh"));
    assert_eq!(changed(&mut resolver, "shop").await, endpoints(&[("10.0.0.2:8080", 1)]), "kept for now");
    resolver.set_targets(&moved("new.mesh"));
    assert_eq!(changed(&mut resolver, "shop").await, endpoints(&[("10.0.0.2:8080", 1)]), "still kept");
    assert_eq!(changed(&mut resolver, "shop").await, endpoints(&[("10.0.0.3:8080", 1)]));

    resolver.set_targets(&targets(&[cart_name], OnEmpty::Keep));
    assert_eq!(resolver.metrics().names().len(), 1);
    assert!(Arc::ptr_eq(&before, &name_of(&resolver, "cart")));
}

#[tokio::test]
async fn many_names_are_all_resolved_eagerly() {
    let dnsmasq = Dnsmasq::start(&["--address=/many.mesh/10.0.0.1"]);
    let mut resolver = resolver(dnsmasq.address(), PATIENCE, vec![]);
    let many: BTreeMap<_, _> = (0..500)
        .map(|nth| {
            let query = addresses(&format!("n{nth}.many.mesh"));
            (cluster(&format!("n{nth}")), Target { query, on_empty: OnEmpty::Keep })
        })
        .collect();
    resolver.set_targets(&many);
    let changes = work_until(&mut resolver, |resolver| resolver.remembered().len() == 500).await;
    assert_eq!(changes.len(), 500);
}
