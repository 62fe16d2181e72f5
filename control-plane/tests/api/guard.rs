//! Who may use the API, and how a control plane refuses to start.

use serde_json::json;

use crate::support::{ControlPlane, Folder, SPLIT, failed, http, outrigger, program, succeeded};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn start(arguments: &[&str]) -> std::process::Output {
    program(env!("CARGO_BIN_EXE_outrigger-control-plane")).args(arguments).output().unwrap()
}

#[test]
fn it_refuses_to_be_exposed() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let token = folder.file("token", TOKEN);
    for more in [vec![], vec!["--token-file", &token]] {
        let said =
            failed(&start(&[&["--store", &store, "--listen", "0.0.0.0:0"], more.as_slice()].concat()), 2);
        assert!(said.contains("--tls-cert") && said.contains("(--listen)"), "{said}");
    }
    assert!(!folder.store().exists());
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_flag() {
    let folder = Folder::new();
    let first = ControlPlane::start(&folder, "one");
    let store = folder.store().display().to_string();
    let state = folder.path().join("other").display().to_string();
    for (flag, address) in [("--listen", first.api), ("--metrics", first.metrics)] {
        let free = if flag == "--listen" { "--metrics" } else { "--listen" };
        let address = address.to_string();
        let arguments = ["--store", &store, "--state-dir", &state, free, "127.0.0.1:0", flag, &address];
        let said = failed(&start(&arguments), 1);
        assert!(said.contains(&address) && said.contains(flag) && said.contains("port is taken"), "{said}");
    }
}

#[tokio::test]
async fn a_state_folder_has_one_control_plane() {
    let folder = Folder::new();
    let _first = ControlPlane::start(&folder, "one");
    let store = folder.store().display().to_string();
    let state = folder.path().join("state-one").display().to_string();
    let arguments =
        ["--store", &store, "--state-dir", &state, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let said = failed(&start(&arguments), 3);
    assert!(said.contains("--state-dir"), "{said}");
}

#[test]
fn wrong_flags_say_what_to_do() {
    let folder = Folder::new();
    let store = folder.store().display().to_string();
    let nowhere = folder.path().join("absent.key").display().to_string();
    let quiet = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    for (arguments, code, part) in [
        (vec![], 2, "--store"),
        (vec!["--store", "ftp://x"], 2, "s3://"),
        (vec!["--store", "s3://bucket/mesh"], 2, "outrigger keys new"),
        (vec!["--store", &store, "--signing-key", &nowhere], 3, "outrigger keys new"),
        (vec!["--store", &store, "--trust-key", "x"], 2, "--trust-key"),
        (vec!["--store", &store, "--interval", "1"], 2, "500ms, 1s"),
    ] {
        let said = failed(&start(&[quiet.as_slice(), &arguments].concat()), code);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_token_and_tls_let_the_right_ones_in() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = folder.file("cp.crt", &made.cert.pem());
    let key = folder.file("cp.key", &made.signing_key.serialize_pem());
    let token = folder.file("token", TOKEN);
    let wrong = folder.file("wrong", &TOKEN.replace('0', "1"));
    let flags = ["--tls-cert", &certificate, "--tls-key", &key, "--token-file", &token];
    let control_plane = ControlPlane::start_with(&folder, "one", &flags);
    let server = format!("https://{}", control_plane.api);
    let file = folder.file("split.yaml", SPLIT);
    let apply = |token: &str| {
        let trust = ["--ca-file", &certificate, "--token-file", token];
        outrigger(&[&["apply", "--server", &server, "-f", &file], trust.as_slice()].concat())
    };
    assert!(failed(&apply(&wrong), 1).contains("Authorization"));
    assert!(succeeded(&apply(&token)).ends_with("revision 1\n"));
    let distrusting = outrigger(&["status", "--server", &server, "--token-file", &token]);
    assert_eq!(distrusting.status.code(), Some(3), "an unknown authority's certificate was accepted");
    let plain = http().get(control_plane.server()).send().await;
    assert!(plain.is_err(), "plain HTTP was answered on a TLS port");
}

#[tokio::test]
async fn a_token_is_needed_for_every_path() {
    let folder = Folder::new();
    let token = folder.file("token", TOKEN);
    let control_plane = ControlPlane::start_with(&folder, "one", &["--token-file", &token]);
    for route in outrigger_control_plane::api::routes() {
        let url = format!("{}{}", control_plane.server(), route.path);
        let asked =
            |value: &str| http().request(route.method.clone(), &url).header("authorization", value).send();
        for value in ["", "Bearer", "Bearer wrong", TOKEN, &format!("Basic {TOKEN}")] {
            assert_eq!(asked(value).await.unwrap().status(), 401, "{route:?} {value:?}");
        }
        assert_ne!(asked(&format!("Bearer {TOKEN}")).await.unwrap().status(), 401, "{route:?}");
    }
}

#[tokio::test]
async fn a_page_that_re_binds_its_name_is_not_served() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let url = format!("{}/v1/status", control_plane.server());
    for (host, code) in
        [("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost:15300", 200), ("[::1]:1", 200)]
    {
        let answer = http().get(&url).header("host", host).send().await.unwrap();
        assert_eq!(answer.status(), code, "{host}");
    }
}

#[tokio::test]
async fn wrong_requests_get_an_answer_in_the_apis_form() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let resources = format!("{}/v1/resources", control_plane.server());
    let text = |body: &'static str, kind: &'static str| {
        http().post(&resources).header("content-type", kind).body(body).send()
    };
    for (answer, code) in [
        (text("{", "application/json").await, 400),
        (text("{}", "application/json").await, 422),
        (text("{}", "text/plain").await, 415),
        (http().post(&resources).json(&json!({"verb": "apply", "sources": [], "oops": 1})).send().await, 422),
        (http().get(format!("{resources}?nope=1")).send().await, 400),
        (http().get(format!("{resources}?revision=7")).send().await, 404),
        (http().put(&resources).send().await, 405),
        (http().get(format!("{}/v2", control_plane.server())).send().await, 404),
    ] {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), code, "{}", answer.url());
        let failure: serde_json::Value = answer.json().await.unwrap();
        assert!(failure["message"].as_str().is_some_and(|message| !message.is_empty()), "{failure}");
    }
    let long = "x".repeat(5_000);
    let (code, failure) = control_plane.push(SPLIT, json!({"message": long})).await;
    assert_eq!((code, &failure["code"]), (422, &json!("too_long")), "{failure}");
    let huge = http()
        .post(&resources)
        .header("content-type", "application/json")
        .body(vec![b' '; 30 << 20])
        .send()
        .await;
    // The server may close before all of it is sent.
    assert!(huge.is_err() || huge.is_ok_and(|answer| answer.status() == 413));
}

#[tokio::test]
async fn a_bootstrap_file_and_a_signal_are_obeyed() {
    let folder = Folder::new();
    let token = folder.file("token", TOKEN);
    let file = folder.file("cp.toml", &format!("token-file = '{token}'\n"));
    let mut control_plane = ControlPlane::start_with(&folder, "one", &["--config", &file]);
    assert_eq!(control_plane.fetch("/v1/status").await.0, 401);
    let ready = http().get(format!("http://{}/ready", control_plane.metrics)).send().await.unwrap();
    assert!(ready.status() == 200 || ready.status() == 503);
    let live = http().get(format!("http://{}/live", control_plane.metrics)).send().await.unwrap();
    assert_eq!(live.status(), 200);
    control_plane.signal_termination();
    control_plane.says("stopped");
    assert_eq!(control_plane.ended().code(), Some(0));
}
