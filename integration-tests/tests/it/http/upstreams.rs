//! HTTP/2 upstreams that refuse, go away or break the rules.

use http::{Method, StatusCode};
use outrigger_integration_tests::frames::{
    CANCEL, DATA, END_STREAM, Frame, FrameApp, GOAWAY, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM,
};
use outrigger_integration_tests::{Answer, Failure, Mesh, Proxy, client};

use crate::config::{all, service, service_of};

/// A sidecar in front of it.
async fn before(app: &FrameApp) -> (Mesh, Proxy) {
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service_of("cart", "HTTP2", &[app.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (mesh, shop)
}

async fn posted(shop: &Proxy) -> Result<Answer, Failure> {
    client::send(shop.outbound, client::request(Method::POST, "cart", "/", "body")).await
}

fn answer(stream: u32) -> Vec<Frame> {
    vec![Frame::headers(stream, 0, &[(":status", "200")]), Frame::new(DATA, END_STREAM, stream, b"ok")]
}

/// GOAWAY: streams up to `last` may have been processed.
fn goaway(last: u32, code: u32) -> Frame {
    Frame::new(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn reset(stream: u32, code: u32) -> Frame {
    Frame::new(RST_STREAM, 0, stream, &code.to_be_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_not_processed_is_told_from_one_that_may_have_been() {
    type Case = (&'static str, fn(u32) -> Vec<Frame>, StatusCode, &'static str);
    let cases: [Case; 5] = [
        ("refused", |stream| vec![reset(stream, REFUSED_STREAM)], StatusCode::OK, ""),
        ("cancelled", |stream| vec![reset(stream, CANCEL)], StatusCode::BAD_GATEWAY, "upstream_reset"),
        ("goes away before it", |_| vec![goaway(0, 0)], StatusCode::OK, ""),
        ("breaks off", |_| vec![goaway(0, PROTOCOL_ERROR)], StatusCode::BAD_GATEWAY, "upstream_reset"),
        (
            "goes away after it",
            |stream| vec![goaway(stream, 0), reset(stream, CANCEL)],
            StatusCode::BAD_GATEWAY,
            "upstream_reset",
        ),
    ];
    for (what, first, status, reason) in cases {
        let app = FrameApp::start(move |number, stream| match number {
            0 => first(stream),
            _ => answer(stream),
        })
        .await;
        let (_mesh, shop) = before(&app).await;
        // What was not processed is sent again, even if it is no idempotent request.
        let first = posted(&shop).await.unwrap();
        assert_eq!((first.status, first.reason()), (status, reason), "{what}: {}", first.text());
        let next = posted(&shop).await.unwrap();
        assert_eq!((next.status, next.text().as_str()), (StatusCode::OK, "ok"), "{what}: the next request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_under_way_survives_goaway() {
    let app = FrameApp::start(|_, stream| [vec![goaway(stream, 0)], answer(stream)].concat()).await;
    let (_mesh, shop) = before(&app).await;
    for _ in 0..5 {
        let answer = posted(&shop).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "ok"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_of_http2_are_made_fit_for_the_client() {
    let app = FrameApp::start(|_, stream| {
        let fields = [(":status", "200"), ("x-padded", " 1 "), ("set-cookie", "a=1"), ("set-cookie", "b=2")];
        vec![
            Frame::headers(stream, 0, &fields),
            Frame::new(DATA, 0, stream, b"ok"),
            Frame::headers(stream, END_STREAM, &[("x-sum", "7"), ("content-length", "9")]),
        ]
    })
    .await;
    let (_mesh, shop) = before(&app).await;
    for request in
        [client::request(Method::GET, "cart", "/", ""), client::request2(Method::GET, "cart", "/", "")]
    {
        let version = request.version();
        let answer = client::send(shop.outbound, request).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "ok"), "{version:?}");
        assert_eq!(answer.header("x-padded"), "1", "{version:?}");
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2, "{version:?}");
        assert!(!answer.trailers.contains_key("content-length"), "{version:?}: {:?}", answer.trailers);
    }
}
