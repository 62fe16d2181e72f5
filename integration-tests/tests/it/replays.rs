//! Bodies that are kept to be sent again: to the byte, up to a length, and all of them together within a bound.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use outrigger_integration_tests::app::faulty::Faulty;
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::{Mesh, Proxy, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::config::{all, backend_policy, service};
use crate::retries::count;

/// The longest body that is kept, by default.
const KEPT_BYTES: usize = 64 * 1024;
/// What one worker keeps of all bodies.
const POOL_KIB: u64 = 16 * 1024;
const UPLOADS: usize = 1_000;
/// For what the allocator holds beside, and as the rest is not the same twice.
const SLACK_KIB: u64 = 16 * 1024;
const DEADLINE: Duration = Duration::from_secs(60);

async fn site(policy: &str) -> (Faulty, Mesh, Proxy) {
    let (app, mesh) = (Faulty::start().await, Mesh::new());
    let policy = backend_policy("cart", policy);
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr]), policy]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (app, mesh, shop)
}

/// No two places of it look alike.
fn noise(bytes: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(bytes as u64);
    (0..bytes).map(|_| random.u8(..)).collect()
}

fn in_pieces(body: &Bytes) -> client::Body {
    let pieces: Vec<_> = body.chunks(1_000).map(|piece| Ok(Frame::data(body.slice_ref(piece)))).collect();
    StreamBody::new(stream::iter(pieces)).boxed_unsync()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_sent_again_to_the_byte_or_not_at_all() {
    let (app, _mesh, shop) = site("retry: {budget: {percent: 100}}").await;
    let mut id = 0;
    for (bytes, tries) in [(KEPT_BYTES, 2), (KEPT_BYTES + 1, 1)] {
        for length_known in [true, false] {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                id += 1;
                let body = noise(bytes);
                let mut request = match version {
                    Version::HTTP_2 => client::request2(Method::PUT, "cart", "/none", body.clone()),
                    _ => client::request(Method::PUT, "cart", "/none", body.clone()),
                };
                request.headers_mut().insert("x-id", id.into());
                if !length_known {
                    request = request.map(|_| in_pieces(&body));
                }
                let mut connection = Connection::open(shop.outbound, version).await.unwrap();
                let answer = connection.send(request).await.unwrap();
                let what = format!("{bytes} bytes, {version:?}, length known: {length_known}");
                let executions = app.executions(id);
                assert_eq!(executions.len(), tries, "{what}");
                assert!(executions.iter().all(|execution| execution.body == body), "{what}: altered");
                let told = if tries == 2 {
                    (StatusCode::OK, "")
                } else {
                    (StatusCode::BAD_GATEWAY, "upstream_reset")
                };
                assert_eq!((answer.status, answer.reason()), told, "{what}");
                // The second time it is all here.
                let said: Vec<_> = executions
                    .iter()
                    .map(|execution| execution.fields.contains_key("content-length"))
                    .collect();
                assert_eq!(said, [length_known, true][..tries], "{what}");
            }
        }
    }
    assert_eq!(count(&shop, &["outrigger_retry_obstacles_total", "obstacle=\"body\""]).await, 4);
}

/// How many KiB a sidecar needs for uploads in pieces of these bytes, whose answers are not there yet.
async fn grown(policy: &str, uploads: usize, pieces: usize, piece: usize) -> u64 {
    let (app, _mesh, shop) = site(policy).await;
    let head = format!("PUT /hold HTTP/1.1\r\nhost: cart\r\ncontent-length: {}\r\n\r\n", pieces * piece);
    let before = shop.process.resident_kib();
    let mut connections = Vec::new();
    for _ in 0..uploads {
        let mut connection = TcpStream::connect(shop.outbound).await.expect("the sidecar listens");
        connection.set_nodelay(true).expect("a socket takes options");
        connection.write_all(head.as_bytes()).await.expect("it is read");
        connections.push(connection);
    }
    let data = noise(piece);
    for sent in 1..=pieces {
        for connection in &mut connections {
            connection.write_all(&data).await.expect("it is read");
        }
        let all = (sent * piece * uploads) as u64;
        let come = async || (app.body_bytes() >= all).then_some(());
        eventually(DEADLINE, "the uploads come to the application", come).await;
    }
    let grown = shop.process.resident_kib().saturating_sub(before);
    // As many as the pool has room for.
    let kept = count(&shop, &["outrigger_replay_bytes"]).await;
    assert!(kept <= POOL_KIB * 1024 && (kept > 0) != policy.contains("attempts: 0"), "{kept} bytes");
    drop(connections);
    let given_back = async || (count(&shop, &["outrigger_replay_bytes"]).await == 0).then_some(());
    eventually(DEADLINE, "what was kept is given back", given_back).await;
    println!("{uploads} uploads of {pieces} pieces of {piece} bytes: {grown} KiB more");
    grown
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bodies_together_take_no_more_than_their_pool() {
    for (uploads, pieces, piece) in [(UPLOADS, 4, KEPT_BYTES / 4), (200, 250, 100)] {
        let policy = "timeouts: {connect: 5s}";
        let without = grown(&format!("{policy}\n  retry: {{attempts: 0}}"), uploads, pieces, piece).await;
        let with = grown(policy, uploads, pieces, piece).await;
        let kept = with.saturating_sub(without);
        assert!(kept <= POOL_KIB + SLACK_KIB, "{kept} KiB for {uploads} uploads of {pieces} pieces");
    }
}

/// One whose answers do not come keeps its bodies for long; that is no reason for another to lose its retries.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_leaves_room_for_the_bodies_of_others() {
    let (hung, app, mesh) = (Faulty::start().await, Faulty::start().await, Mesh::new());
    mesh.publish(&all(&[
        service("shop", &[]),
        service("hung", &[hung.addr]),
        service("cart", &[app.addr]),
        backend_policy("cart", "retry: {budget: {percent: 100}}"),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let uploads = POOL_KIB as usize * 1024 / KEPT_BYTES + 4;
    let mut held = Vec::new();
    for _ in 0..uploads {
        let mut connection = TcpStream::connect(shop.outbound).await.expect("the sidecar listens");
        let head = format!("PUT /hold HTTP/1.1\r\nhost: hung\r\ncontent-length: {KEPT_BYTES}\r\n\r\n");
        connection.write_all(head.as_bytes()).await.expect("it is read");
        connection.write_all(&noise(KEPT_BYTES)).await.expect("it is read");
        held.push(connection);
    }
    let all = (uploads * KEPT_BYTES) as u64;
    eventually(DEADLINE, "the uploads are there", async || (hung.body_bytes() >= all).then_some(())).await;
    let kept = count(&shop, &["outrigger_replay_bytes"]).await;
    for id in 0..20 {
        let mut request = client::request(Method::PUT, "cart", "/none", noise(1_000));
        request.headers_mut().insert("x-id", id.into());
        assert_eq!(client::send(shop.outbound, request).await.unwrap().status, StatusCode::OK, "{kept} kept");
        assert_eq!(app.executions(id).len(), 2);
    }
    println!("{kept} bytes kept for the one that hangs");
    assert!(kept <= POOL_KIB * 1024 / 2, "{kept}");
}
