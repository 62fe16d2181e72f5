//! JSON Schemas of all kinds (draft 2020-12), for editors. Made from the tables that the parser reads by, so that they can't
//! drift apart. They know shapes only: what refers to something else is checked by `outrigger validate`.

use serde_json::{Map, Value, json};

use crate::config::shape::{Field, Object, Presence, Shape, Word};
use crate::config::text::Text;
use crate::config::{Kind, grpc_status};

#[cfg(test)]
mod tests;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// One schema for a document of any kind.
pub fn schemas() -> Value {
    let definitions: Map<String, Value> =
        Kind::ALL.into_iter().map(|kind| (kind.name().to_owned(), object(kind.shape()))).collect();
    let references: Vec<Value> =
        Kind::ALL.into_iter().map(|kind| json!({ "$ref": format!("#/$defs/{kind}") })).collect();
    json!({ "$schema": DIALECT, "title": "Outrigger resource", "oneOf": references, "$defs": definitions })
}

/// The schema of one kind.
pub fn schema(kind: Kind) -> Value {
    let mut schema = object(kind.shape());
    schema["$schema"] = DIALECT.into();
    schema["title"] = format!("{} {kind}", kind.api_version()).into();
    schema
}

fn object(object: &Object) -> Value {
    let required: Vec<&str> = object
        .fields
        .iter()
        .filter(|field| matches!(field.presence, Presence::Required(_)))
        .map(|field| field.name)
        .collect();
    let properties: Map<String, Value> =
        object.fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn property(field: &Field) -> Value {
    match &field.presence {
        Presence::Required(shape) | Presence::Optional(shape) | Presence::Inert(shape) => {
            let mut schema = self::shape(shape);
            schema["description"] = field.about.into();
            schema
        }
        Presence::Unsupported => {
            json!({ "not": {}, "description": format!("{}: not supported by Outrigger yet", field.about) })
        }
        Presence::Ignored => json!({ "description": format!("ignored: {}", field.about) }),
    }
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text(text) => self::text(*text),
        Shape::Integer { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::GrpcStatus => json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": grpc_status::NAMES.len() },
            { "type": "string", "examples": grpc_status::NAMES }
        ] }),
        Shape::Choice(words) => json!({ "enum": supported(words) }),
        Shape::List { of, least, most } => {
            json!({ "type": "array", "items": self::shape(of), "minItems": least, "maxItems": most })
        }
        Shape::Object(fields) => object(fields),
        Shape::Texts => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    }
}

fn supported(words: &[Word]) -> Vec<&'static str> {
    words.iter().filter(|word| word.supported).map(|word| word.name).collect()
}

fn text(text: Text) -> Value {
    let mut schema = json!({ "type": "string" });
    if let Text::Only(only) = text {
        schema["const"] = only.into();
    }
    if let Some(pattern) = text.pattern() {
        schema["pattern"] = pattern.into();
    }
    if let Some(most) = text.bytes_max() {
        schema["maxLength"] = most.into();
    }
    schema
}
