//! A start without a store, or without the right key.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::{App, Mesh, Metrics, Process, Proxy, client, eventually};

use crate::config::{all, service};
use crate::servers::{Server, ended};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_with_nothing_to_start_from_ends_and_says_what_to_do() {
    let missing = Mesh::new();
    let empty = Mesh::new();
    std::fs::create_dir(empty.store()).unwrap();
    let file = Mesh::new();
    std::fs::write(file.store(), "not a folder").unwrap();
    let foreign = Mesh::new();
    std::fs::create_dir(foreign.store()).unwrap();
    std::fs::write(foreign.store().join("holiday.jpg"), "no mesh").unwrap();
    let stranger = public_key(&missing, "stranger.key");
    let own = Mesh::new();
    own.publish(&service("shop", &[]));
    let cases: [(&str, &Mesh, &[&str], &[&str]); 5] = [
        ("no folder", &missing, &[], &["correct --store"]),
        ("an empty folder", &empty, &[], &["holds no mesh", "outrigger publish"]),
        ("a file", &file, &[], &["is not a folder"]),
        ("somebody's folder", &foreign, &[], &["holds no mesh", "the wrong folder"]),
        ("another key", &own, &["--trust-key", &stranger], &["--trust-key", "outrigger status"]),
    ];
    for (what, mesh, arguments, parts) in cases {
        let (code, said) = ended(Server::Proxy.on(mesh, "proxy", arguments)).await;
        assert_eq!(code, Some(3), "{what}: {said}");
        let store = mesh.store().display().to_string();
        let last = said.trim().lines().last().unwrap_or_default();
        for part in [&[store.as_str(), "--store", "--state-dir"], parts].concat() {
            assert!(last.contains(part), "{what}: no {part:?} in {last}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_starts_from_its_state_folder_and_says_so() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let mut shop = Proxy::start(&mesh, Sidecar::beside("shop")).await;
    shop.ready().await;
    shop.remembers("default/cart").await;
    let away = mesh.folder().join("away");
    let states: [(&str, &dyn Fn()); 3] = [
        ("there is no store", &|| std::fs::rename(mesh.store(), &away).unwrap()),
        ("the store is empty", &|| std::fs::create_dir(mesh.store()).unwrap()),
        ("the store is a file", &|| {
            std::fs::remove_dir(mesh.store()).unwrap();
            std::fs::write(mesh.store(), "").unwrap();
        }),
    ];
    for (what, bring_about) in states {
        // In order: who is killed this soon after an apply may have died of it.
        shop.process.interrupt();
        assert_eq!(shop.process.ended(DEADLINE).await.code(), Some(0));
        bring_about();
        shop.restart().await;
        shop.ready().await;
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "cart"), "{what}");
        shop.process.says("(--state-dir) with release").await;
        shop.process.says(&mesh.store().display().to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_told_another_key_keeps_what_it_has_and_says_why() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop")).await;
    shop.ready().await;
    shop.remembers("default/cart").await;
    drop(shop);
    let stranger = public_key(&mesh, "stranger.key");
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").with(&["--trust-key", &stranger])).await;
    shop.ready().await;
    let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
    assert_eq!(answer.header("x-app"), "cart");
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[]), service("late", &[app.addr])]));
    eventually(DEADLINE, "the refusal is counted", async || {
        let refused = ["outrigger_snapshot_refusals_total{cause=\"untrusted\"}"];
        (Metrics::of(shop.metrics).await?.sum(&refused) > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_sign_is_explained_to_control_plane_and_publisher() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    let file = |name: &str, text: &[u8]| {
        let path = mesh.folder().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    public_key(&mesh, "other.key");
    let at = |name: &str| mesh.folder().join(name).display().to_string();
    let own = std::fs::read(mesh.folder().join("store.key")).unwrap();
    let cases = [
        ("absent", at("absent.key"), "outrigger keys new"),
        ("empty", file("empty.key", b""), "holds no signing key"),
        ("cut", file("cut.key", &own[..own.len() / 2]), "holds no signing key"),
        ("binary", file("binary.key", &[0xff; 64]), "binary.key"),
        ("a folder", mesh.folder().display().to_string(), "can't be read"),
        ("public", file("public.key", public_key(&mesh, "another.key").as_bytes()), "holds no signing key"),
    ];
    let config = mesh.file(&service("shop", &[])).display().to_string();
    for (what, key, part) in &cases {
        let (code, said) = ended(Server::ControlPlane.on(&mesh, "one", &["--signing-key", key])).await;
        assert_eq!(code, Some(3), "{what}: {said}");
        let (published, told) = publish(&mesh, &["--signing-key", key, "-f", &config]);
        assert_eq!(published, Some(1), "{what}: {told}");
        for text in [said, told] {
            assert!(text.contains(part) && text.contains(key), "{what}: no {part:?} in {text}");
            assert_eq!(text.trim().lines().count(), 1, "{text}");
        }
    }
    // A key of another mesh signs well, but not for this one.
    let (code, told) = publish(&mesh, &["--signing-key", &at("other.key"), "-f", &config]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("--trust-key") || told.contains("--signing-key"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_with_another_meshs_key_publishes_nothing_and_says_why() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    public_key(&mesh, "other.key");
    let key = mesh.folder().join("other.key").display().to_string();
    let mut command = Server::ControlPlane.on(&mesh, "one", &["--signing-key", &key]);
    let mut process = Process::start("control plane", &mut command);
    let metrics = process.listening("--metrics").await;
    let why = eventually(DEADLINE, "it is not ready, for a reason", async || {
        let page = client::page(metrics, "/ready").await.ok()?;
        let text = page.text();
        (page.status == StatusCode::SERVICE_UNAVAILABLE && !text.contains("starting")).then_some(text)
    })
    .await;
    assert!(why.contains("--trust-key") || why.contains("--signing-key"), "{why}");
    assert_eq!(releases(&mesh), 1, "nothing was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_can_read_is_warned_of() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    let key = mesh.folder().join("store.key");
    let config = mesh.file(&service("shop", &[])).display().to_string();
    for (mode, is_warned) in [(0o600, false), (0o640, false), (0o644, true), (0o620, true), (0o777, true)] {
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let warned = |text: &str| text.contains("chmod 600") && text.contains(&*key.to_string_lossy());
        let (code, told) = publish(&mesh, &["-f", &config]);
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(warned(&told), is_warned, "{mode:o}: {told}");
        let mut process = Process::start("control plane", &mut Server::ControlPlane.on(&mesh, "one", &[]));
        process.listening("--listen").await;
        assert_eq!(warned(&process.log()), is_warned, "{mode:o}: {}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_everybody_can_write_is_warned_of() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    for (mode, is_warned) in [(0o700, false), (0o755, false), (0o770, false), (0o777, true)] {
        let node = format!("shop-{mode:o}");
        let state = mesh.state(&node);
        std::fs::create_dir_all(&state).unwrap();
        std::fs::set_permissions(&state, PermissionsExt::from_mode(mode)).unwrap();
        let shop = Proxy::start(&mesh, Sidecar::beside("shop").node(&node)).await;
        let log = shop.process.log();
        let warned = log.contains("everybody may write in") && log.contains(&*state.to_string_lossy());
        assert_eq!(warned, is_warned, "{mode:o}: {log}");
    }
}

/// Makes a signing key in the mesh's folder; its public key.
pub(crate) fn public_key(mesh: &Mesh, name: &str) -> String {
    let out = mesh.outrigger([Path::new("keys"), Path::new("new"), &mesh.folder().join(name)]);
    assert!(out.status.success(), "{}", said(&out));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// The exit code of `outrigger publish`, and what it said.
fn publish(mesh: &Mesh, arguments: &[&str]) -> (Option<i32>, String) {
    let store = mesh.store().display().to_string();
    let out = mesh.outrigger([&["publish", "--store", &store], arguments].concat());
    (out.status.code(), said(&out))
}

fn releases(mesh: &Mesh) -> usize {
    let epochs = std::fs::read_dir(mesh.store().join("releases")).expect("something was published");
    let count = |epoch: std::io::Result<std::fs::DirEntry>| {
        let folder = epoch.expect("a folder can be listed").path();
        std::fs::read_dir(folder).expect("an epoch is a folder").count()
    };
    epochs.map(count).sum()
}
