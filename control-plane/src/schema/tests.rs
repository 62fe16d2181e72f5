use serde_json::{Value, json};

use super::{schema, schemas};
use crate::config::{Kind, Resource};

/// The part of JSON Schema that the schemas use, patterns left out.
fn conforms(value: &Value, schema: &Value) -> bool {
    if schema.get("not").is_some() {
        return false;
    }
    let type_ok = match schema["type"].as_str() {
        None => true,
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(other) => panic!("the schema has the type {other}"),
    };
    let within = |least: &str, most: &str, size: i64| {
        schema[least].as_i64().is_none_or(|least| size >= least)
            && schema[most].as_i64().is_none_or(|most| size <= most)
    };
    let fields_ok = value.as_object().is_none_or(|fields| {
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        required.iter().all(|name| fields.contains_key(name.as_str().unwrap()))
            && fields.iter().all(|(name, field)| match schema["properties"].get(name) {
                Some(property) => conforms(field, property),
                None => match &schema["additionalProperties"] {
                    Value::Bool(allowed) => *allowed,
                    other => conforms(field, other),
                },
            })
    });
    type_ok
        && schema.get("const").is_none_or(|only| only == value)
        && schema["enum"].as_array().is_none_or(|words| words.contains(value))
        && value.as_i64().is_none_or(|number| within("minimum", "maximum", number))
        && value.as_array().is_none_or(|items| {
            within("minItems", "maxItems", items.len() as i64)
                && items.iter().all(|item| conforms(item, &schema["items"]))
        })
        && fields_ok
}

fn service(port: Value) -> Value {
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "Service",
        "metadata": { "name": "cart", "labels": { "tier": "shop" }, "uid": 7 },
        "spec": { "ports": [port], "endpoints": { "static": [{ "address": "10.0.0.1:80", "weight": 2 }] } },
        "status": { "anything": true }
    })
}

#[test]
fn a_schema_accepts_and_refuses_what_the_parser_does() {
    let schema = schema(Kind::Service);
    for (port, right) in [
        (json!({ "port": 80, "protocol": "HTTP" }), true),
        (json!({ "port": 80, "protocol": "HTTP", "targetPort": 8080, "name": "web" }), true),
        (json!({ "port": 0, "protocol": "HTTP" }), false),
        (json!({ "port": 65536, "protocol": "HTTP" }), false),
        (json!({ "port": "80", "protocol": "HTTP" }), false),
        (json!({ "protocol": "HTTP" }), false),
        (json!({ "port": 80, "protocol": "HTTPS" }), false),
        (json!({ "port": 80, "protocol": "HTTP", "nodePort": 30080 }), false),
    ] {
        let value = service(port);
        assert_eq!(conforms(&value, &schema), right, "{value}");
        assert_eq!(Resource::from_value(&value).is_ok(), right, "{value}");
    }
}

#[test]
fn unsupported_fields_are_refused_with_their_reason_at_hand() {
    let schema = schema(Kind::HttpRoute);
    let sticky =
        &schema["properties"]["spec"]["properties"]["rules"]["items"]["properties"]["sessionPersistence"];
    assert_eq!(
        sticky,
        &json!({ "not": {}, "description": "sticky sessions: not supported by Outrigger yet" })
    );
    let types = &schema["properties"]["spec"]["properties"]["rules"]["items"]["properties"]["filters"]["items"]
        ["properties"]["type"]["enum"];
    assert_eq!(
        types,
        &json!([
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestRedirect",
            "URLRewrite",
            "ExtensionRef"
        ])
    );
}

#[test]
fn the_whole_schema_leads_to_every_kind() {
    let all = schemas();
    for (kind, reference) in Kind::ALL.into_iter().zip(all["oneOf"].as_array().unwrap()) {
        assert_eq!(reference["$ref"], format!("#/$defs/{kind}"));
        assert_eq!(all["$defs"][kind.name()]["properties"]["kind"]["const"], kind.name());
    }
}

#[test]
fn the_schemas_have_what_is_said_of_failures() {
    let policy = &schema(Kind::BackendPolicy)["properties"]["spec"]["properties"];
    assert_eq!(policy["retry"]["properties"]["budget"]["properties"]["percent"]["maximum"], 100);
    let grpc = &policy["retry"]["properties"]["grpcStatuses"]["items"]["anyOf"];
    assert_eq!(grpc[0], json!({ "type": "integer", "minimum": 1, "maximum": 16 }));
    assert_eq!(grpc[1]["examples"][13], "UNAVAILABLE");
    assert_eq!(policy["healthCheck"]["properties"]["tcp"]["additionalProperties"], false);
    let inbound = &schema(Kind::InboundPolicy)["properties"]["spec"]["properties"];
    assert_eq!(inbound["shed"]["properties"]["tolerance"]["minimum"], 110);
    assert_eq!(inbound["rateLimits"]["items"]["required"], json!(["name", "requests", "period"]));
    let fault = &schema(Kind::RouteFilter)["properties"]["spec"]["properties"]["fault"]["properties"];
    assert_eq!(fault["abort"]["properties"]["percent"]["maximum"], 100);
    let route = &schema(Kind::HttpRoute)["properties"]["spec"]["properties"]["rules"]["items"]["properties"];
    assert_eq!(
        route["filters"]["items"]["properties"]["extensionRef"]["properties"]["kind"]["enum"],
        json!(["RouteFilter"])
    );
    assert_eq!(route["retry"]["properties"]["codes"]["items"]["minimum"], 400);
}
