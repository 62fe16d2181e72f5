//! `outrigger` as a person types it, from one verb to the next.

use std::process::Output;
use std::time::Duration;

use outrigger_integration_tests::mesh::said;
use outrigger_integration_tests::{App, ControlPlane, Mesh, client, eventually};
use serde_json::Value;

use crate::config::{all, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_got_can_be_applied_again_in_each_form() {
    let (mesh, control_plane) = pushed("first", &shop_and_cart(90)).await;
    let run = |verb: &str, arguments: &[&str]| control_plane.outrigger(&mesh, verb, arguments);
    let table = printed(run("get", &[]));
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["KIND", "NAMESPACE", "NAME"]);
    for row in [["HTTPRoute", "default", "cart"], ["Service", "default", "shop"]] {
        assert!(rows.contains(&row.to_vec()), "no {row:?} in {table}");
    }
    let yaml = printed(run("get", &["-o", "yaml"]));
    assert_eq!(yaml.lines().filter(|line| *line == "---").count(), rows.len() - 1, "{yaml}");
    let json: Value = serde_json::from_str(&printed(run("get", &["httproute/cart", "-o", "json"]))).unwrap();
    assert_eq!(json["revision"], 1, "{json}");
    assert_eq!(json["resources"][0]["spec"]["rules"][0]["backendRefs"][0]["weight"], 90, "{json}");
    for text in [&yaml, &json["resources"][0].to_string()] {
        let again = control_plane.try_apply(&mesh, text);
        assert!(printed(again).contains("nothing changed: revision 1"), "{text}");
    }
    control_plane.apply(&mesh, &shop_and_cart(50));
    let older = printed(run("get", &["HTTPRoute/cart", "--revision", "1", "-o", "yaml"]));
    assert!(older.contains("weight: 90"), "{older}");
    assert_eq!(printed(run("get", &["-n", "elsewhere"])).lines().count(), 1, "the header alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_what_apply_then_does() {
    let (mesh, control_plane) = pushed("first", &shop_and_cart(90)).await;
    let run = |verb: &str, arguments: &[&str]| control_plane.outrigger(&mesh, verb, arguments);
    let same = mesh.file(&shop_and_cart(90)).display().to_string();
    let other = mesh.file(&shop_and_cart(50)).display().to_string();
    let nothing = run("diff", &["-f", &same, "--exit-code"]);
    assert_eq!(nothing.status.code(), Some(0), "{}", said(&nothing));
    assert!(said(&nothing).contains("no difference to revision 1"), "{}", said(&nothing));
    let something = run("diff", &["-f", &other]);
    assert_eq!(something.status.code(), Some(0), "only --exit-code makes it a finding");
    let text = said(&something);
    for part in ["weight: 90", "weight: 50", "1 would change", "--base 1"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let stale = run("apply", &["-f", &other, "--base", "7"]);
    assert_eq!(stale.status.code(), Some(1), "{}", said(&stale));
    let applied = printed(run("apply", &["-f", &other, "--base", "1"]));
    assert_eq!(applied, "changed HTTPRoute default/cart\nrevision 2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_told_and_a_rollback_is_served() {
    let (one, two) = (App::start("v1").await, App::start("v2").await);
    let (mesh, control_plane) = pushed("begin", &split(&one, &two, 1, 0)).await;
    let run = |verb: &str, arguments: &[&str]| control_plane.outrigger(&mesh, verb, arguments);
    mesh.published().await;
    let shop = mesh.proxy("shop").await;
    let answers = async |name: &str| {
        eventually(DEADLINE, &format!("{name} answers"), async || {
            let answer = client::fetch(shop.outbound, "cart", "/").await.ok()?;
            (answer.header("x-app") == name).then_some(())
        })
        .await;
    };
    answers("v1").await;
    let new = mesh.file(&split(&one, &two, 0, 1)).display().to_string();
    printed(run("apply", &["-f", &new, "-m", "all to v2", "--author", "ada"]));
    answers("v2").await;
    let back = printed(run("rollback", &["-m", "v2 is slow", "--author", "eve"]));
    assert!(back.contains("changed HTTPRoute default/cart") && back.ends_with("revision 3\n"), "{back}");
    answers("v1").await;
    printed(run("rollback", &["--to", "2"]));
    answers("v2").await;

    let history = printed(run("history", &[]));
    let rows: Vec<Vec<&str>> = history.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["REVISION", "AGO", "AUTHOR", "RESOURCES", "MESSAGE"]);
    let numbers: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(numbers, ["4", "3", "2", "1"], "newest first: {history}");
    assert_eq!((rows[2][2], rows[3][2]), ("eve", "ada"), "{history}");
    assert!(history.contains("v2 is slow") && history.contains("all to v2"), "{history}");
    assert_eq!(printed(run("history", &["--limit", "1"])).lines().count(), 2);
    let json: Value = serde_json::from_str(&printed(run("history", &["-o", "json"]))).unwrap();
    assert_eq!(json["revisions"][1]["message"], "v2 is slow", "{json}");
    let never = run("rollback", &["--to", "99"]);
    assert_eq!(never.status.code(), Some(1));
    assert!(said(&never).contains("there is no revision 99; `outrigger history`"), "{}", said(&never));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_from_traffic_and_what_is_needed_is_not_deleted() {
    let app = App::start("cart").await;
    let both = [service("shop", &[]), service("cart", &[app.addr])];
    let (mesh, control_plane) = pushed("first", &all(&both)).await;
    let run = |verb: &str, arguments: &[&str]| control_plane.outrigger(&mesh, verb, arguments);
    control_plane.apply(&mesh, &route("shop", &[backends(&[("cart", 1)])]));
    mesh.published().await;
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let cart = mesh.file(&both[1]).display().to_string();
    let needed = run("delete", &["-f", &cart, "--allow-shrink"]);
    assert_eq!(needed.status.code(), Some(1), "{}", said(&needed));
    assert!(said(&needed).contains("cart"), "{}", said(&needed));
    let routed = mesh.file(&route("shop", &[backends(&[("cart", 1)])])).display().to_string();
    let refused = run("delete", &["-f", &routed, "-f", &cart]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("--allow-shrink"), "{}", said(&refused));
    let done = printed(run("delete", &["-f", &routed, "-f", &cart, "--allow-shrink"]));
    assert!(
        done.contains("removed HTTPRoute default/shop\n") && done.contains("removed Service default/cart\n"),
        "{done}"
    );
    eventually(DEADLINE, "cart is unknown", async || {
        let answer = client::fetch(shop.outbound, "cart", "/").await.ok()?;
        (answer.reason() == "no_route" || answer.status == http::StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    let again = run("delete", &["-f", &cart]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_made_filled_lost_recovered_and_swept() {
    let mesh = Mesh::new();
    let run = |arguments: &[&str]| mesh.outrigger(arguments);
    let (store, key) = (mesh.store().display().to_string(), mesh.folder().join("k").display().to_string());
    let state = mesh.state("keeper").display().to_string();
    let public = printed(run(&["keys", "new", &key]));
    let made = printed(run(&["store", "init", "--store", &store, "--signing-key", &key]));
    assert!(made.starts_with("mesh ") && made.contains(public.trim()), "{made}");
    let listed = printed(run(&["keys", "list", &key, "--store", &store]));
    assert_eq!(listed.matches(public.trim()).count(), 2, "{listed}");

    let config = mesh.file(&shop_and_cart(90)).display().to_string();
    let publish = ["publish", "--store", &store, "--signing-key", &key, "--state-dir", &state, "-f", &config];
    assert!(printed(run(&publish)).contains("release 1 published"));
    let inspected: Value =
        serde_json::from_str(&printed(run(&["snapshot", "inspect", &store, "--service", "shop"]))).unwrap();
    assert_eq!((&inspected["release"], &inspected["revision"]), (&1.into(), &1.into()), "{inspected}");
    assert!(inspected.to_string().contains("default/cart"), "{inspected}");
    let release = mesh.store().join("releases");
    let release = std::fs::read_dir(release).unwrap().next().unwrap().unwrap().path();
    let release = std::fs::read_dir(release).unwrap().next().unwrap().unwrap().path().display().to_string();
    assert!(printed(run(&["snapshot", "inspect", &release])).contains("\"revision\": 1"));
    let swept = printed(run(&["gc", "--store", &store, "--signing-key", &key]));
    assert_eq!(swept, "removed 0 releases, 0 objects and 0 leftovers\n", "everything is young");

    std::fs::remove_dir_all(mesh.store()).unwrap();
    let lost = run(&publish);
    assert_ne!(lost.status.code(), Some(0), "a lost store is not made anew: {}", said(&lost));
    assert!(said(&lost).contains("outrigger store recover"), "{}", said(&lost));
    let recover = ["store", "recover", "--store", &store, "--signing-key", &key];
    let where_from = run(&recover);
    assert_eq!(where_from.status.code(), Some(2));
    assert!(said(&where_from).contains("--state-dir DIR"), "{}", said(&where_from));
    let back = printed(run(&[recover.as_slice(), &["--state-dir", &state]].concat()));
    assert!(back.contains("is back") && back.contains("revision"), "{back}");
    assert!(printed(run(&publish)).contains("release"), "it can be published to again");
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_there_for_every_kind() {
    let mesh = Mesh::new();
    let all: Value = serde_json::from_str(&printed(mesh.outrigger(["schema"]))).unwrap();
    for kind in ["Service", "HTTPRoute", "BackendPolicy"] {
        assert!(all.to_string().contains(kind), "{kind}");
        let one: Value = serde_json::from_str(&printed(mesh.outrigger(["schema", kind]))).unwrap();
        assert!(one["properties"]["spec"].is_object(), "{kind}: {one}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_get_an_answer_that_helps() {
    let (mesh, control_plane) = pushed("first", &shop_and_cart(90)).await;
    let server = format!("http://{}", control_plane.api);
    let wrong = mesh.file("kind: Service\n").display().to_string();
    let empty = mesh.folder().join("empty").display().to_string();
    std::fs::create_dir(&empty).unwrap();
    let store = mesh.store().display().to_string();
    let cases: [(&[&str], i32, &[&str]); 24] = [
        (&[], 2, &["Usage", "apply"]),
        (&["aply"], 2, &["aply", "apply"]),
        (&["apply"], 2, &["--file"]),
        (&["apply", "-f", "/nowhere.yaml"], 1, &["/nowhere.yaml", "-f"]),
        (&["apply", "-f", &empty], 1, &[&empty, "no .yaml"]),
        (&["apply", "-f", &wrong], 1, &[&wrong, "apiVersion"]),
        (&["apply", "-f", &wrong, "--base", "x"], 2, &["--base", "'x'"]),
        (
            &["apply", "-f", &wrong, "--server", "http://127.0.0.1:9"],
            3,
            &["127.0.0.1:9", "--server", "running"],
        ),
        (&["apply", "-f", &wrong, "--server", "nonsense"], 2, &["nonsense", "--server", "http://"]),
        (&["apply", "-f", &wrong, "--token-file", "/nowhere"], 1, &["/nowhere", "--token-file"]),
        (&["get", "Gizmo"], 2, &["Gizmo", "HTTPRoute"]),
        (&["get", "Service/nobody"], 1, &["Service/nobody", "revision 1"]),
        (&["get", "-o", "xml"], 2, &["xml", "yaml", "table"]),
        (&["get", "--revision", "9"], 1, &["9", "outrigger history"]),
        (&["rollback"], 1, &["nothing to go back to"]),
        (&["history", "--limit", "many"], 2, &["--limit"]),
        (&["status", "-o", "xml"], 2, &["xml"]),
        (&["schema", "Gizmo"], 2, &["Gizmo", "HTTPRoute"]),
        (&["keys", "list"], 2, &["FILE"]),
        (&["keys", "list", "/nowhere"], 1, &["/nowhere"]),
        (&["snapshot", "inspect", "/nowhere"], 3, &["/nowhere"]),
        (&["snapshot", "inspect", &store, "--service", "nobody"], 1, &["default/nobody"]),
        (&["gc", "--store", "/nowhere"], 1, &["/nowhere.key"]),
        (&["gc", "--store", &store, "--keep-days", "0"], 2, &["--keep-days"]),
    ];
    mesh.published().await;
    for (arguments, code, parts) in cases {
        let asks = ["apply", "get", "rollback", "history", "status"];
        let here: &[&str] = match arguments.first() {
            Some(verb) if asks.contains(verb) && !arguments.contains(&"--server") => &["--server", &server],
            _ => &[],
        };
        let out = mesh.outrigger([arguments, here].concat());
        let text = said(&out);
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
        }
        assert!(out.stdout.is_empty(), "remarks go to standard error: {arguments:?}: {text}");
    }
}

/// A mesh with a control plane, and these resources pushed.
async fn pushed(message: &str, yaml: &str) -> (Mesh, ControlPlane) {
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    let file = mesh.file(yaml).display().to_string();
    printed(control_plane.outrigger(&mesh, "apply", &["-f", &file, "-m", message]));
    (mesh, control_plane)
}

/// What a command wrote to standard output that did what it was asked to.
fn printed(out: Output) -> String {
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    String::from_utf8(out.stdout).expect("text")
}

fn shop_and_cart(weight: u32) -> String {
    let services = ["shop", "cart", "v1", "v2"].map(|name| service(name, &[]));
    let rule = backends(&[("v1", weight), ("v2", 100 - weight)]);
    all(&[services.as_slice(), &[route("cart", &[rule])]].concat())
}

fn split(one: &App, two: &App, to_one: u32, to_two: u32) -> String {
    all(&[
        service("shop", &[]),
        service("cart", &[]),
        service("v1", &[one.addr]),
        service("v2", &[two.addr]),
        route("cart", &[backends(&[("v1", to_one), ("v2", to_two)])]),
    ])
}
