//! A control plane removes from its store what nothing needs any more, and nothing else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use outrigger_integration_tests::mesh::said;
use outrigger_integration_tests::{App, ControlPlane, Mesh, Metrics, Proxy, client, eventually};

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(20);
/// Longer ago than anything is kept for its age.
const LONG_AGO: Duration = Duration::from_secs(8 * 24 * 3_600);

#[tokio::test(flavor = "multi_thread")]
async fn replicas_collect_what_is_old_and_unneeded_and_nothing_that_is_in_use() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let objects = mesh.store().join("objects");
    let in_use = files(&objects);
    assert!(!in_use.is_empty());
    let stray = |digit: &str| objects.join(digit.repeat(64));
    let (old, young) = (stray("a"), stray("b"));
    for path in [&old, &young] {
        fs::write(path, "nothing names it").unwrap();
    }
    for path in in_use.iter().chain([&old]) {
        age(path);
    }
    let arguments = ["--collect-every", "100ms"];
    let _one = ControlPlane::start(&mesh, "one", &arguments).await;
    let mut two = ControlPlane::start(&mesh, "two", &arguments).await;
    let metrics = two.process.listening("--metrics").await;
    eventually(DEADLINE, "the old stray is gone", async || (!old.exists()).then_some(())).await;
    eventually(DEADLINE, "both have gone on", async || {
        (Metrics::of(metrics).await?.sum(&["outrigger_control_plane_turns_total "]) > 10).then_some(())
    })
    .await;
    let page = Metrics::of(metrics).await.unwrap();
    assert!(page.say(&["outrigger_control_plane_collection_failures_total "], 0), "{}", page.text());
    assert!(young.exists(), "what is young may be about to be named");
    for path in &in_use {
        assert!(path.exists(), "{} is named by a release", path.display());
    }
    let shop: Proxy = mesh.proxy("shop").await;
    shop.ready().await;
    assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().header("x-app"), "cart");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_and_with_zero_nothing_is_collected_at_a_start() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    let old = mesh.store().join("objects").join("a".repeat(64));
    fs::write(&old, "nothing names it").unwrap();
    age(&old);
    let never = ControlPlane::start(&mesh, "never", &["--collect-every", "0s"]).await;
    never.apply(&mesh, &service("late", &[]));
    let daily = ControlPlane::start(&mesh, "daily", &[]).await;
    daily.apply(&mesh, &service("later", &[]));
    assert!(old.exists());
    let swept = mesh.outrigger(["gc", "--store", &mesh.store().to_string_lossy()]);
    assert_eq!(said(&swept), "removed 0 releases, 1 objects and 0 leftovers\n");
    assert!(!old.exists());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be listed").path()).collect()
}

/// Makes a file look as if it had been written long ago.
fn age(path: &Path) {
    let file = File::options().write(true).open(path).expect("a file of the store");
    file.set_modified(SystemTime::now() - LONG_AGO).expect("our own file");
}
