//! Stores that are not what they were.

use std::process::Output;

use serde_json::json;

use crate::support::{
    ControlPlane, Folder, eventually, failed, http, outrigger, program, service, succeeded,
};

fn start(folder: &Folder, state: &str) -> Output {
    let (store, state) = (folder.store(), folder.path().join(state));
    let mut command = program(env!("CARGO_BIN_EXE_outrigger-control-plane"));
    command.arg("--store").arg(store).arg("--state-dir").arg(state);
    command.args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]).output().unwrap()
}

#[tokio::test]
async fn a_lost_store_is_not_published_to_until_it_is_recovered() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&service("a", 2), json!({})).await;
    control_plane.published(1).await;
    let (_, before) = control_plane.fetch("/v1/status").await;
    std::fs::rename(folder.store(), folder.path().join("lost")).unwrap();
    let trouble = || async {
        let (_, status) = control_plane.fetch("/v1/status").await;
        status["trouble"].as_str().unwrap_or_default().to_owned()
    };
    eventually(async || !trouble().await.is_empty()).await;
    let ready = http().get(format!("http://{}/ready", control_plane.metrics)).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let (code, failure) = control_plane.push(&service("b", 1), json!({})).await;
    assert_eq!(code, 503, "{failure}");
    std::fs::create_dir(folder.store()).unwrap();
    eventually(async || trouble().await.contains("outrigger store recover")).await;
    let (code, failure) = control_plane.push(&service("b", 1), json!({})).await;
    assert_eq!(code, 503, "{failure}");
    assert!(failure["message"].as_str().unwrap().contains("outrigger store recover"), "{failure}");
    assert_eq!(control_plane.terminate().code(), Some(0));

    let (store, state) =
        (folder.store().display().to_string(), folder.path().join("state-one").display().to_string());
    let back = succeeded(&outrigger(&["store", "recover", "--store", &store, "--state-dir", &state]));
    assert!(back.contains("revision 1 with 1 resources"), "{back}");
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.published(1).await;
    let (_, after) = control_plane.fetch("/v1/status").await;
    assert_eq!(after["mesh"], before["mesh"]);
    assert!(after["release"]["epoch"].as_u64() > before["release"]["epoch"].as_u64());
    let (code, _) = control_plane.push(&service("b", 1), json!({})).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn a_mesh_without_its_key_is_not_given_a_new_one() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&service("a", 1), json!({})).await;
    assert_eq!(control_plane.terminate().code(), Some(0));
    std::fs::remove_file(folder.path().join("store.key")).unwrap();
    let said = failed(&start(&folder, "state-one"), 3);
    assert!(said.contains("its signing key is not at") && said.contains("--signing-key"), "{said}");
    let store = folder.store().display().to_string();
    let file = folder.file("a.yaml", &service("a", 1));
    failed(&outrigger(&["publish", "--store", &store, "-f", &file]), 1);
    std::fs::remove_dir_all(folder.store()).unwrap();
    let said = failed(&start(&folder, "state-one"), 3);
    assert!(said.contains("outrigger store recover"), "{said}");
}

#[tokio::test]
async fn another_meshs_store_is_refused() {
    let (folder, other) = (Folder::new(), Folder::new());
    for folder in [&folder, &other] {
        let control_plane = ControlPlane::start(folder, "one");
        control_plane.push(&service("a", 1), json!({})).await;
        control_plane.published(1).await;
        assert_eq!(control_plane.terminate().code(), Some(0));
    }
    std::fs::remove_dir_all(folder.store()).unwrap();
    std::fs::rename(other.store(), folder.store()).unwrap();
    std::fs::rename(other.path().join("store.key"), folder.path().join("store.key")).unwrap();
    let control_plane = ControlPlane::start(&folder, "one");
    eventually(async || {
        control_plane.fetch("/v1/status").await.1["trouble"].to_string().contains("holds mesh")
    })
    .await;
    let (code, failure) = control_plane.push(&service("b", 1), json!({})).await;
    assert_eq!(code, 503, "{failure}");
}

#[tokio::test]
async fn a_store_that_is_published_to_by_hand_is_followed() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let store = folder.store().display().to_string();
    let file = folder.file("a.yaml", &service("a", 1));
    succeeded(&outrigger(&["publish", "--store", &store, "-f", &file]));
    control_plane.published(1).await;
    let (code, pushed) = control_plane.push(&service("b", 1), json!({"base": 1})).await;
    assert_eq!((code, &pushed["revision"]), (200, &json!(2)), "{pushed}");
    succeeded(&outrigger(&["gc", "--store", &store]));
    control_plane.published(2).await;
}

#[tokio::test]
async fn objects_that_the_store_lost_are_stored_again() {
    let folder = Folder::new();
    let objects = folder.store().join("objects");
    let names = || {
        let entries = std::fs::read_dir(&objects).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    let lose = || names().iter().for_each(|name| std::fs::remove_file(objects.join(name)).unwrap());
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&service("a", 2), json!({})).await;
    let release = control_plane.published(1).await;
    assert_eq!(control_plane.terminate().code(), Some(0));
    let whole = names();
    lose();
    let mut control_plane = ControlPlane::start(&folder, "one");
    control_plane.says("the store had lost objects");
    eventually(async || names() == whole).await;
    assert_eq!(control_plane.published(1).await, release, "nothing was to be published");
    eventually(async || control_plane.metric("objects_restored_total").await == whole.len() as u64).await;
    assert_eq!(control_plane.terminate().code(), Some(0));
    lose();
    let store = folder.store().display().to_string();
    let file = folder.file("a.yaml", &service("a", 2));
    let said = succeeded(&outrigger(&["publish", "--store", &store, "-f", &file]));
    assert!(said.contains("the store had lost 2 objects of release 1"), "{said}");
    assert_eq!(names(), whole);
}
