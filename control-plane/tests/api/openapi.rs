//! The API's description.

use std::collections::BTreeSet;

use outrigger_control_plane::api;
use serde_json::Value;

use crate::support::{ControlPlane, Folder};

fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods =
            item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase()));
        methods.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_served_document_has_every_route_and_no_other() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let (code, document) = control_plane.fetch("/openapi.json").await;
    assert_eq!(code, 200);
    let routes: BTreeSet<String> = api::routes().iter().map(|route| format!("{route:?}")).collect();
    assert_eq!(operations(&document), routes);
    for operation in &routes {
        let (method, path) = operation.split_once(' ').unwrap();
        let url = format!("{}{path}", control_plane.server());
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = crate::support::http().request(method, url).send().await.unwrap();
        assert!(![404, 405].contains(&answer.status().as_u16()), "{operation}");
    }
}

#[test]
fn the_document_is_valid() {
    let document = serde_json::to_value(api::document()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(!document["info"]["title"].as_str().unwrap().is_empty());
    assert!(!document["info"]["version"].as_str().unwrap().is_empty());
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        let pointer =
            reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{method} {path}");
            for response in responses.values() {
                assert!(response["description"].is_string(), "{method} {path}");
            }
            assert_eq!(method == "post", operation.get("requestBody").is_some(), "{method} {path}");
        }
    }
}
