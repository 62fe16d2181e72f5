//! Reports, to a folder and to a listening socket, in the clear and over TLS.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_proxy::config::{Collector, ReportTarget};
use outrigger_proxy::report::{Calls, PostError, ReportError, Reporter};
use outrigger_proxy::source::{Status, chain};
use outrigger_proxy::telemetry::exposition::Exposition;
use outrigger_proxy::worker::CurrentPlan;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

fn reporter(target: ReportTarget) -> Reporter {
    Reporter::new(
        target,
        "cart-7",
        &"shop/cart".parse().unwrap(),
        Duration::from_secs(1),
        Status::new("/mesh"),
        Calls::new(CurrentPlan::default()),
    )
}

fn collector(address: SocketAddr) -> Collector {
    Collector {
        tls: false,
        host: address.ip().to_string(),
        port: address.port(),
        prefix: String::new(),
        token_file: None,
        ca_file: None,
    }
}

/// Takes one request and answers it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"}") {
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "the request ended early: {}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&chunk[..read]);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(request).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_folder_has_one_file_for_each_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let mut reporter = reporter(ReportTarget::Folder(folder.path().join("reports")));
    reporter.report().await.unwrap();
    reporter.report().await.unwrap();
    let files: Vec<_> =
        std::fs::read_dir(folder.path().join("reports")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].ends_with("shop.cart.cart-7.json"), "{files:?}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    assert_eq!((report["node"].as_str(), report["service"].as_str()), (Some("cart-7"), Some("shop/cart")));
    assert!(report["running"].is_null());
}

#[tokio::test]
async fn a_control_plane_gets_it_with_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "0123456789abcdef\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = Collector { prefix: "/mesh".to_owned(), token_file: Some(token_file), ..collector(address) };
    let mut reporter = reporter(ReportTarget::ControlPlane(target));
    let (sent, request) =
        tokio::join!(reporter.report(), async { answer(listener.accept().await.unwrap().0, OK).await });
    sent.unwrap();
    assert!(request.starts_with("POST /mesh/v1/reports HTTP/1.1\r\n"), "{request}");
    let lower = request.to_lowercase();
    for header in [
        "authorization: bearer 0123456789abcdef",
        "content-type: application/json",
        &format!("host: {address}"),
    ] {
        assert!(lower.contains(header), "no {header} in {request}");
    }
}

#[tokio::test]
async fn a_failure_says_what_happened_and_is_only_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut unhappy = reporter(ReportTarget::ControlPlane(collector(address)));
    let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 12\r\n\r\nno such mesh";
    let (sent, _) =
        tokio::join!(unhappy.report(), async { answer(listener.accept().await.unwrap().0, refusal).await });
    let error = sent.unwrap_err();
    assert!(matches!(error, ReportError::Post(PostError::Refused { .. })), "{error:?}");
    assert!(chain(&error).contains("403 Forbidden: no such mesh"), "{}", chain(&error));
    drop(listener);
    let error = unhappy.report().await.unwrap_err();
    assert!(chain(&error).contains(&address.to_string()), "{}", chain(&error));
    let counts = unhappy.counts();
    let local = tokio::task::LocalSet::new();
    let running = local.spawn_local(unhappy.run());
    let failed = async || {
        let mut exposition = Exposition::new();
        counts.write(&mut exposition);
        exposition.finish().contains("outrigger_reports_total{result=\"failed\"} 1\n")
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    local
        .run_until(async {
            while !failed().await {
                assert!(tokio::time::Instant::now() < deadline && !running.is_finished());
                tokio::task::yield_now().await;
            }
        })
        .await;
    running.abort();
}

#[tokio::test]
async fn tls_is_spoken_only_with_whom_the_authority_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (ours, other) = (made(), made());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(ours.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![ours.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let trusting = |name: &str, pem: String| {
        let ca_file = folder.path().join(name);
        std::fs::write(&ca_file, pem).unwrap();
        let target = Collector {
            tls: true,
            host: "localhost".to_owned(),
            ca_file: Some(ca_file),
            ..collector(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        reporter(ReportTarget::ControlPlane(target))
    };
    let mut right = trusting("ours", ours.cert.pem());
    let (sent, request) = tokio::join!(right.report(), async {
        let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        answer(stream, OK).await
    });
    sent.unwrap();
    assert!(request.contains("\"node\":\"cart-7\""), "{request}");
    let mut wrong = trusting("other", other.cert.pem());
    let (sent, accepted) =
        tokio::join!(wrong.report(), async { acceptor.accept(listener.accept().await.unwrap().0).await });
    assert!(matches!(sent, Err(ReportError::Post(PostError::Tls(..)))), "{sent:?}");
    assert!(accepted.is_err());
    let mut none = trusting("none", "not a certificate".to_owned());
    assert!(chain(&none.report().await.unwrap_err()).contains("no certificate"));
}
