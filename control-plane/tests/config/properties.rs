//! What holds for every mesh and for every text.

use outrigger_control_plane::compile::{compile, shrink};
use outrigger_control_plane::config::{Resource, check, load, parse};
use outrigger_snapshot::router::Router;
use proptest::prelude::*;
use serde_json::Value;

use crate::source;
use mesh::mesh;

mod fuzz;
mod mesh;

/// Reads arbitrary bytes and does everything with them that a push does. Whatever is accepted must survive the store, and
/// what is compiled of it must be accepted by every proxy.
fn exercise(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(resources) = parse(&[source("fuzz", &text)]) else { return false };
    for resource in &resources {
        assert_eq!(&Resource::from_value(resource.value()).unwrap(), resource, "{text}");
    }
    let Ok(checked) = check(&resources) else { return false };
    let compiled = compile(&checked);
    for (scope, content) in &compiled.scopes {
        let policy = &compiled.policies[content.policy];
        policy.check().unwrap_or_else(|invalid| panic!("{invalid}\n{text}"));
        compiled.facts[content.facts].check().unwrap_or_else(|invalid| panic!("{invalid}\n{text}"));
        Router::build(policy, scope.namespace(), |_| ())
            .unwrap_or_else(|refused| panic!("{refused}\n{text}"));
    }
    assert!(shrink(&compiled, &compiled).is_empty());
    true
}

fn yaml(documents: &[Value]) -> String {
    let documents: Vec<String> =
        documents.iter().map(|document| serde_saphyr::to_string(document).unwrap()).collect();
    documents.join("---\n")
}

fn dice() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..400)
}

proptest! {
    #[test]
    fn what_is_right_is_accepted_and_compiles(dice in dice()) {
        let text = yaml(&mesh(&dice));
        if let Err(problems) = load(&[], &[source("mesh", &text)]) {
            panic!("{problems}\n{text}");
        }
        prop_assert!(exercise(text.as_bytes()));
    }

    #[test]
    fn printing_and_reading_gives_the_same(dice in dice()) {
        let documents = mesh(&dice);
        let read = parse(&[source("mesh", &yaml(&documents))]).unwrap();
        let values: Vec<&Value> = read.iter().map(Resource::value).collect();
        prop_assert_eq!(values, documents.iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_order_of_documents_does_not_matter(dice in dice(), seed in any::<u64>()) {
        let documents = mesh(&dice);
        let mut shuffled = documents.clone();
        let mut state = seed | 1;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(index, (state >> 33) as usize % (index + 1));
        }
        let files: Vec<_> = shuffled.iter().map(|document| source("one", &document.to_string())).collect();
        let whole = compile(&load(&[], &[source("mesh", &yaml(&documents))]).unwrap());
        prop_assert_eq!(compile(&load(&[], &files).unwrap()), whole);
    }

    #[test]
    fn damaged_documents_are_refused_or_right(dice in dice(), damage in prop::collection::vec((any::<u32>(), any::<u8>()), 1..6)) {
        let mut bytes = yaml(&mesh(&dice)).into_bytes();
        for (place, new) in damage {
            let place = place as usize % bytes.len().max(1);
            match new % 3 {
                0 => { bytes.remove(place); }
                1 => bytes.insert(place, *b"{}[]:,-'\"&*!|>#%@~\n\t 019azAZ/.\\\0".get(new as usize % 36).unwrap_or(&b' ')),
                _ => bytes[place] = new,
            }
        }
        exercise(&bytes);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-{}\\[\\]:,'\"&*!|>#%@~\n\t ?a-c0-2\u{0}é]{0,60}") {
        exercise(text.as_bytes());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }
}
