//! What the other tests lean on: the load generator counts what fails, and how.

use std::time::Duration;

use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::{App, Failure, Load, client, eventually, port};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn load_counts_every_failure_with_its_reason() {
    let app = App::start("flaky").await;
    let mut plan = Plan::new(app.addr, "flaky", 400);
    plan.path = "/flaky/10".to_owned();
    let load = Load::start(plan);
    eventually(DEADLINE, "some load", async || (load.succeeded() >= 180).then_some(())).await;
    let report = load.stop().await;
    assert_eq!(report.sent, report.succeeded + report.failed.len() as u64);
    assert_eq!(report.reasons().keys().copied().collect::<Vec<_>>(), ["500 "]);
    assert_eq!(report.failed.len() as u64, app.requests() / 10);
    assert_eq!(report.by_app["flaky"], report.succeeded);
    assert!(app.connections() < 65, "connections are used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_apart() {
    assert_eq!(client::fetch(port::free(), "a", "/").await.unwrap_err(), Failure::Refused);
    let reset = RawApp::start(b"", End::Reset).await;
    assert_eq!(client::fetch(reset.addr, "a", "/").await.unwrap_err(), Failure::Reset);
    let short = RawApp::start(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", End::Close).await;
    assert_eq!(client::fetch(short.addr, "a", "/").await.unwrap_err(), Failure::Closed);
    assert!(short.heads()[0].starts_with("GET / HTTP/1.1\r\nhost: a\r\n"));
}
