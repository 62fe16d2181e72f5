//! Which of many endpoints each of many callers has: from what sidecars report to where they sit.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::{HeaderValue, Method};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::{App, Mesh, Proxy, client, eventually};

use crate::config::{all, service};

const CALLERS: usize = 200;
const ENDPOINTS: u8 = 100;
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn of_many_callers_each_has_a_seat_and_a_new_one_goes_by_its_name() {
    // One application stands for all endpoints.
    let app = App::start_at("cart", SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await;
    let endpoint = |nth| SocketAddr::from(([127, 0, 1, nth], app.addr.port()));
    let endpoints: Vec<SocketAddr> = (1..=ENDPOINTS).map(endpoint).collect();
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    for nth in 0..CALLERS {
        let report = serde_json::json!({
            "node": format!("shop-{nth}"), "service": "default/shop", "version": "0", "calls": ["default/cart:80"],
        });
        let address = control_plane.api.to_string();
        let mut post = client::request(Method::POST, &address, "/v1/reports", report.to_string());
        post.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        let taken = client::send(control_plane.api, post).await.unwrap();
        assert_eq!(taken.status, 200, "{}", taken.text());
    }
    control_plane.apply(&mesh, &all(&[service("shop", &[]), service("cart", &endpoints)]));
    mesh.published().await;
    let store = mesh.store().display().to_string();
    let explained = ["explain", "GET", "http://cart/", "--store", &store, "--service", "shop"];
    let words = "each of 200 callers with seats 12 endpoints or more, a new one 50: about 256 callers × 100 endpoints";
    eventually(DEADLINE, "seats are published", async || {
        said(&mesh.outrigger(explained)).contains(words).then_some(())
    })
    .await;

    let mut seats = BTreeSet::new();
    for node in ["shop-7", "shop-8", "shop-200"] {
        let shop = Proxy::start(&mesh, Sidecar::beside("shop").node(node)).await;
        shop.ready().await;
        for _ in 0..60 {
            assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().status, 200);
        }
        let clusters = client::page(shop.admin, "/clusters?format=json").await.unwrap().json();
        let cart = clusters.as_array().unwrap().iter().find(|one| one["name"] == "default/cart:80").unwrap();
        let listed = cart["endpoints"].as_array().unwrap();
        let own = listed.iter().filter(|one| one["own"] == true).count();
        let strays = listed.iter().filter(|one| one["own"] == false && one["requests"] != 0).count();
        assert_eq!((listed.len(), strays), (usize::from(ENDPOINTS), 0), "{node}: {clusters}");
        match node {
            "shop-200" => assert_eq!((cart["caller"].as_str(), own), (Some("by name"), 50)),
            _ => {
                let caller = cart["caller"].as_str().unwrap();
                assert!(caller.starts_with("seat ") && caller.ends_with(" of 200"), "{node}: {caller}");
                assert!((12..=14).contains(&own), "{node}: {own} endpoints");
                assert!(seats.insert(caller.to_owned()), "{node} has the seat of another");
            }
        }
    }
}
