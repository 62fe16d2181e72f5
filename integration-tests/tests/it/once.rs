//! Connections that break under requests, by the thousand: what may not be executed twice is not, and what may be is answered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::app::faulty::Faulty;
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::frames::{
    CANCEL, DATA, END_STREAM, Frame, FrameApp, REFUSED_STREAM, RST_STREAM,
};
use outrigger_integration_tests::{Answer, Failure, Mesh, Proxy, within};
use tokio::task::JoinSet;

use crate::config::{all, backend_policy, service, service_of};
use crate::retries::count;

/// Faults that hit orders.
const FAULTS: u64 = 10_000;
/// Of each way, that hit what may be repeated.
const REPEATABLE: u64 = 500;
/// Connections of the client at a time.
const CLIENTS: usize = 64;
const DEADLINE: Duration = Duration::from_secs(60);
/// Ways in which an answer breaks off; see [`Faulty`].
const BROKEN: [&str; 4] = ["/none", "/close", "/head", "/body"];
/// Ways in which it does not, but the connection may, before the next request comes.
const WHOLE: [&str; 2] = ["/after", "/well"];

type Answers = HashMap<u64, Result<Answer, Failure>>;

/// Nothing but what is retried: one endpoint that fails all the time would be let alone else. Several times, as one request may meet several
/// connections in quick use that have just died.
const POLICY: &str = "retry: {attempts: 6, budget: {percent: 100}}\n  breaker: {failurePercent: 0}\n  ejection: {maxPercent: 0}";

async fn site() -> (Faulty, Mesh, Proxy) {
    let app = Faulty::start().await;
    let (mesh, shop) = before(service("cart", &[app.addr])).await;
    (app, mesh, shop)
}

async fn before(cart: String) -> (Mesh, Proxy) {
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), cart, backend_policy("cart", POLICY)]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (mesh, shop)
}

/// Sends requests of the ids from `first` on, over kept connections, several at a time; each on the path of its id.
async fn send_all(outbound: SocketAddr, method: Method, first: u64, paths: Vec<&'static str>) -> Answers {
    let (next, paths) = (Arc::new(AtomicU64::new(0)), Arc::new(paths));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (next, paths, method) = (next.clone(), paths.clone(), method.clone());
        clients.spawn(async move {
            let mut kept: Option<Connection> = None;
            let mut answers = Vec::new();
            loop {
                let index = next.fetch_add(1, Relaxed);
                let Some(path) = paths.get(index as usize) else { return answers };
                let id = first + index;
                let body = if method == Method::POST { "an order" } else { "" };
                let mut request = client::request(method.clone(), "cart", path, body);
                request.headers_mut().insert("x-id", id.into());
                let mut connection = match kept.take().filter(Connection::is_open) {
                    Some(connection) => connection,
                    None => Connection::open(outbound, Version::HTTP_11).await.expect("the sidecar listens"),
                };
                let answer = connection.send(request).await;
                kept = answer.is_ok().then_some(connection);
                answers.push((id, answer));
            }
        });
    }
    within(DEADLINE, "all are answered", clients.join_all()).await.into_iter().flatten().collect()
}

/// These paths by turns, `each` of each.
fn by_turns(paths: &[&'static str], each: u64) -> Vec<&'static str> {
    paths.iter().copied().cycle().take(paths.len() * each as usize).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_executed_once_however_its_answer_breaks() {
    let (app, _mesh, shop) = site().await;
    // Every other one is well, so that the next finds a connection that was used before.
    let paths = by_turns(&BROKEN.map(|path| [path, "/well"]).concat(), FAULTS / BROKEN.len() as u64);
    let answers = send_all(shop.outbound, Method::POST, 0, paths.clone()).await;
    let counts = app.counts();
    let others: Vec<_> = (0..paths.len() as u64).map(|id| (id, counts.get(&id))).collect();
    let others: Vec<_> = others.iter().filter(|(_, count)| *count != Some(&1)).collect();
    assert!(others.is_empty(), "{others:?}");
    for (id, answer) in &answers {
        let told = answer.as_ref().map(|answer| (answer.status, answer.reason()));
        match (paths[*id as usize], told) {
            ("/well", told) => assert_eq!(told, Ok((StatusCode::OK, ""))),
            ("/body", Ok((_, reason))) => assert_eq!(reason, "upstream_reset"),
            ("/body", Err(failure)) => {
                assert!(matches!(failure, Failure::Closed | Failure::Reset), "{failure:?}")
            }
            (path, told) => assert_eq!(told, Ok((StatusCode::BAD_GATEWAY, "upstream_reset")), "{path}"),
        }
    }
    let refused = count(&shop, &["outrigger_retry_obstacles_total", "obstacle=\"unsafe\""]).await;
    let opened = count(&shop, &["outrigger_upstream_connections_total"]).await;
    println!("{} orders over {opened} connections, {refused} failures not retried", answers.len());
    assert!(opened < FAULTS + FAULTS / 10, "{opened} connections: they are not used again");
    assert!(refused >= FAULTS * 3 / 4, "{refused}");
    assert_eq!(count(&shop, &["outrigger_retries_total"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_on_a_connection_that_died_is_sent_again_only_if_it_was_not_sent() {
    let (app, _mesh, shop) = site().await;
    let paths = by_turns(&WHOLE, 2_000);
    let answers = send_all(shop.outbound, Method::POST, 0, paths.clone()).await;
    let counts = app.counts();
    let mut lost = 0;
    for (id, answer) in &answers {
        let executed = counts.get(id).copied().unwrap_or_default();
        let answer = answer.as_ref().expect("the sidecar answers");
        match answer.status {
            StatusCode::OK => assert_eq!(executed, 1, "{id}"),
            _ => {
                assert_eq!(answer.reason(), "upstream_reset");
                assert!(executed <= 1, "{id}: executed {executed} times");
                lost += 1;
            }
        }
    }
    println!(
        "{lost} of {} lost, {} sent again",
        answers.len(),
        count(&shop, &["outrigger_retries_total"]).await
    );
    assert!(lost * 10 < answers.len(), "{lost} lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_repeated_is_answered_however_the_first_answer_breaks() {
    let (app, _mesh, shop) = site().await;
    let paths = by_turns(&[BROKEN, [WHOLE[0], WHOLE[1], WHOLE[0], WHOLE[1]]].concat(), REPEATABLE);
    let answers = send_all(shop.outbound, Method::GET, 0, paths.clone()).await;
    let counts = app.counts();
    for (id, answer) in &answers {
        let (path, executed) = (paths[*id as usize], counts.get(id).copied().unwrap_or_default());
        match path {
            // Its head is on the way to the client by then.
            "/body" => assert!(answer.is_err() && executed == 1, "{answer:?}, executed {executed} times"),
            _ => {
                let broken = BROKEN.contains(&path);
                let answer = answer.as_ref().expect("the sidecar answers");
                assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"twenty bytes of text"[..]));
                assert_eq!(executed, 1 + usize::from(broken), "{path}");
            }
        }
    }
    let again = count(&shop, &["outrigger_retries_total", "reason=\"reset\""]).await;
    assert!(again >= 3 * REPEATABLE, "{again} retries");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_too_an_order_is_processed_once_and_what_was_refused_is_sent_again() {
    const ORDERS: usize = 2_000;
    let processed = Arc::new(AtomicU64::new(0));
    let counted = processed.clone();
    let app = FrameApp::start(move |number, stream| {
        let reset = |code: u32| Frame::new(RST_STREAM, 0, stream, &code.to_be_bytes());
        let head = Frame::headers(stream, 0, &[(":status", "200")]);
        let way = number % 16;
        counted.fetch_add(u64::from(way != 0), Relaxed);
        match way {
            0 => vec![reset(REFUSED_STREAM)],
            1..6 => vec![reset(CANCEL)],
            6..11 => vec![head, Frame::new(DATA, 0, stream, b"so far"), reset(CANCEL)],
            _ => vec![head, Frame::new(DATA, END_STREAM, stream, b"whole")],
        }
    })
    .await;
    let (_mesh, shop) = before(service_of("cart", "HTTP2", &[app.addr])).await;
    let answers = send_all(shop.outbound, Method::POST, 0, by_turns(&["/"], ORDERS as u64)).await;
    let whole =
        |answer: &&Result<Answer, Failure>| answer.as_ref().is_ok_and(|answer| answer.body == "whole");
    let (whole, processed) = (answers.values().filter(whole).count(), processed.load(Relaxed));
    let again = count(&shop, &["outrigger_retries_total", "reason=\"refused\""]).await;
    println!("{processed} of {ORDERS} processed, {whole} answered, {again} sent again");
    assert_eq!(processed, ORDERS as u64);
    assert!(whole > ORDERS / 4 && whole < ORDERS / 2 && again > ORDERS as u64 / 32);
    assert_eq!(again, count(&shop, &["outrigger_retries_total"]).await);
}
