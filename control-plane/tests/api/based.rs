//! Edits of what somebody else has changed meanwhile.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::support::{ControlPlane, Folder, failed, outrigger, service, succeeded};

/// A file with what `outrigger get WHICH` shows, after `edit`.
fn edited(
    folder: &Folder,
    control_plane: &ControlPlane,
    name: &str,
    which: &[&str],
    edit: (&str, &str),
) -> String {
    let shown = succeeded(&control_plane.outrigger("get", &[which, &["-o", "yaml"]].concat()));
    assert!(shown.contains("outrigger.dev/revision"), "{shown}");
    assert!(shown.contains(edit.0), "{shown}");
    folder.file(name, &shown.replace(edit.0, edit.1))
}

#[tokio::test]
async fn an_edit_is_not_undone_by_one_who_has_not_seen_it() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&format!("{}---\n{}", service("a", 1), service("b", 1)), json!({})).await;
    let ann = edited(&folder, &control_plane, "ann.yaml", &["Service/a"], ("port: 80", "port: 81"));
    let bea = edited(&folder, &control_plane, "bea.yaml", &[], ("name: http", "name: web"));
    let cid = edited(&folder, &control_plane, "cid.yaml", &["Service/b"], ("port: 80", "port: 82"));
    succeeded(&control_plane.outrigger("apply", &["-f", &ann, "--author", "ann"]));
    for verb in ["apply", "diff"] {
        let said = failed(&control_plane.outrigger(verb, &["-f", &bea]), 1);
        assert!(said.contains("Service default/a (read at revision 1)"), "{said}");
        assert!(
            said.contains("the newest revision is 2 (by ann)") && said.contains("outrigger get"),
            "{said}"
        );
        assert!(!said.contains("default/b"), "nobody has changed b: {said}");
    }
    // Who changes something else isn't kept from it.
    let applied = succeeded(&control_plane.outrigger("apply", &["-f", &cid]));
    assert!(applied.ends_with("revision 3\n"), "{applied}");
    let (_, found) = control_plane.fetch("/v1/resources").await;
    let ports: Vec<&Value> = found["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| {
            assert_eq!(resource.pointer("/metadata/annotations"), None, "{resource}");
            resource.pointer("/spec/ports/0/port").unwrap()
        })
        .collect();
    assert_eq!(ports, [&json!(81), &json!(82)]);
    // On top of what is there, it is as it was meant.
    let again = edited(&folder, &control_plane, "again.yaml", &[], ("name: http", "name: web"));
    succeeded(&control_plane.outrigger("apply", &["-f", &again]));
    let said = succeeded(&control_plane.outrigger("apply", &["-f", &again]));
    assert!(said.starts_with("nothing changed"), "{said}");
}

#[tokio::test]
async fn what_is_gone_or_of_another_mesh_is_not_brought_back_unseen() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&format!("{}---\n{}", service("a", 1), service("b", 1)), json!({})).await;
    let file = edited(&folder, &control_plane, "a.yaml", &["Service/a"], ("port: 80", "port: 81"));
    succeeded(&control_plane.outrigger("delete", &["-f", &file, "--allow-shrink"]));
    let said = failed(&control_plane.outrigger("apply", &["-f", &file]), 1);
    assert!(said.contains("Service default/a (read at revision 1)"), "{said}");
    let note = |revision: &str| {
        service("b", 2).replace(
            "{name: b}",
            &format!("{{name: b, annotations: {{outrigger.dev/revision: '{revision}'}}}}"),
        )
    };
    let (code, failure) = control_plane.push(&note("7/1"), json!({})).await;
    assert_eq!((code, &failure["code"], &failure["newest"]), (409, &json!("stale_resource"), &json!(2)));
    assert!(
        failure["message"].as_str().unwrap().contains("7/1, which is no revision of this mesh"),
        "{failure}"
    );
    let (code, failure) = control_plane.push(&note("seven"), json!({})).await;
    assert_eq!(code, 422, "{failure}");
    let field = "metadata.annotations.outrigger.dev/revision";
    assert_eq!(failure["problems"][0]["field"], field, "{failure}");
    // An older revision is asked for to have it back.
    let old = succeeded(&control_plane.outrigger("get", &["Service/a", "--revision", "1", "-o", "yaml"]));
    let old = folder.file("old.yaml", &old);
    succeeded(&control_plane.outrigger("apply", &["-f", &old]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_names_what_it_undoes() {
    let asked: Arc<Mutex<Option<Value>>> = Arc::default();
    let note = Arc::clone(&asked);
    let newest = json!({"epoch": 1, "revision": 7, "author": "ann", "message": "", "time_unix_ms": 0, "resources": 1, "allow_shrink": false});
    let router = axum::Router::new()
        .route("/v1/history", get(async move || Json(json!({"revisions": [newest]}))))
        .route(
            "/v1/rollback",
            post(async move |Json(body): Json<Value>| {
                *note.lock().unwrap() = Some(body);
                (StatusCode::CONFLICT, Json(json!({"code": "stale_base", "message": "somebody was faster"})))
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (more, sent) in [(&[][..], (6, 7)), (&["--to", "2"], (2, 7)), (&["--base", "5"], (4, 5))] {
        let said = failed(&outrigger(&[&["rollback", "--server", &server], more].concat()), 1);
        assert!(said.contains("somebody was faster"), "{said}");
        let body = asked.lock().unwrap().take().unwrap();
        assert_eq!((&body["to"], &body["base"]), (&json!(sent.0), &json!(sent.1)), "{more:?}");
    }
}
