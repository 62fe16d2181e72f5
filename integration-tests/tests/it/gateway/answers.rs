//! What proxies say to each other in answers: it is believed of nobody else, and goes to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use outrigger_integration_tests::app::raw::{End, RawApp};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a sidecar would say of a request that it sheds, and one further up.
const FORGED: &[u8] =
    b"HTTP/1.1 503 Busy\r\noutrigger-shed: 1\r\noutrigger-no-retry: 1\r\noutrigger-reason: forged\r\n\
    connection: close\r\ncontent-length: 2\r\n\r\nno";
const NAMES: [&str; 3] = ["outrigger-no-retry", "outrigger-reason", "outrigger-shed"];

/// A server of TLS that always says so; its port, and how many requests it had.
async fn forger(pair: &(String, String)) -> (u16, Arc<AtomicUsize>) {
    let chain = CertificateDer::pem_slice_iter(pair.0.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(pair.1.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain.unwrap(), key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, seen) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), counted.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {
                    seen.fetch_add(1, Relaxed);
                    let _ = stream.write_all(FORGED).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    (port, seen)
}

fn marks(answer: &Answer) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| answer.headers.contains_key(*name)).collect()
}

#[tokio::test]
async fn what_proxies_say_in_answers_is_said_by_proxies_to_proxies() {
    let (servers, mesh) = (Authority::new(), Mesh::new());
    let (outside, seen) = forger(&servers.certify(&["api.test"], |_| {})).await;
    let (inside, port) = (RawApp::start(FORGED, End::Close).await, port::free().port());
    let tls = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: outside}\nspec:\n  \
        targetRefs: [{group: '', kind: Service, name: outside}]\n  \
        validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: servers}], hostname: api.test}";
    mesh.publish(&all(&[
        service("shop", &[]),
        servers.config_map("servers"),
        service("outside", &[at(outside)]),
        tls.to_owned(),
        service("inside", &[inside.addr]),
        gateway(&[http("web", port)]),
        route("inside", &["inside.test"]),
    ]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").inbound_to(inside.addr)).await;
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    shop.ready().await;
    edge.ready().await;
    let ask = async |at: SocketAddr, method: Method, host: &str| {
        client::send(at, client::request(method, host, "/", "")).await.unwrap()
    };

    let answer = ask(shop.outbound, Method::POST, "outside").await;
    assert_eq!((marks(&answer), seen.load(Relaxed)), (vec![], 1), "an order is not sent again for it");
    ask(shop.outbound, Method::GET, "outside").await;
    assert!(seen.load(Relaxed) > 2, "nor kept from being sent again");

    let answer = ask(shop.outbound, Method::GET, "inside").await;
    assert_eq!((marks(&answer), answer.reason()), (NAMES.to_vec(), "forged"), "a mesh without identities");
    assert_eq!(inside.heads().len(), 1, "it was asked not to");

    let answer = ask(shop.inbound.unwrap(), Method::GET, "shop").await;
    assert_eq!((answer.status, marks(&answer)), (StatusCode::SERVICE_UNAVAILABLE, vec![]), "a workload");

    let answer = ask(at(port), Method::GET, "inside.test").await;
    assert_eq!((answer.status, marks(&answer)), (StatusCode::SERVICE_UNAVAILABLE, vec!["outrigger-reason"]));
}
