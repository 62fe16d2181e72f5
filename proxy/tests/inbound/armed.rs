//! What hedging costs a request that is answered in time: nothing is made for a second try before there is one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use outrigger_snapshot::facts::{Discovery, Endpoint, TlsMode};
use outrigger_snapshot::policy::Hedge;

use super::*;

const REQUESTS: u64 = 1_000;

/// An endpoint that answers at once, on threads of its own: what these allocate is not counted.
fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| serve(stream))))
    });
    addr
}

fn serve(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        head.extend_from_slice(&piece[..count]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    }
}

/// Of so many requests, after some that make what stays.
fn allocations(hedge: Option<Hedge>) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let mut policy = policy(None, Vec::new());
    policy
        .services
        .values_mut()
        .flat_map(|service| &mut service.ports)
        .for_each(|port| port.backend.hedge = hedge);
    let listed = Endpoint { address: endpoint(), weight: 1, zone: None, tls: TlsMode::None };
    let cluster = Cluster {
        discovery: Discovery::Static(vec![listed]),
        peers: 1,
        seats: Default::default(),
        tls: None,
    };
    let clusters = BTreeMap::from([("cart:80".parse().unwrap(), cluster)]);
    let rig = local.block_on(&runtime, async { Rig::among(clusters, &policy) });
    let ask = || {
        let answer = local.block_on(&runtime, rig.send(Direction::Outbound, Request::new(())));
        assert_eq!((answer.status, &*answer.reason), (200, ""));
    };
    (0..100).for_each(|_| ask());
    allocation_counter::measure(|| (0..REQUESTS).for_each(|_| ask())).count_total
}

#[test]
fn a_hedge_that_is_not_sent_allocates_nothing() {
    let plain = allocations(None);
    let armed = allocations(Some(Hedge { percentile: 95, delay_min_ms: 60_000 }));
    println!("{plain} for {REQUESTS} requests, {armed} where they are hedged");
    assert!(armed <= plain + REQUESTS / 20, "{armed}, and {plain} without");
}
