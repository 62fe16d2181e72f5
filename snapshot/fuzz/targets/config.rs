//! What operators write: YAML and JSON of several documents, parsed, checked together, and compiled.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_control_plane::compile::compile;
use outrigger_control_plane::config::{Resource, Source, load};
use outrigger_snapshot::router::Router;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data).into_owned();
    let lines = 1 + text.matches(['\n', '\r']).count();
    let checked = match load(&[], &[Source { name: "fuzz.yaml".to_owned(), text }]) {
        Ok(checked) => checked,
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal says why");
            for problem in &problems {
                assert!(problem.line >= 1 && problem.column >= 1, "no place: {problem}");
                assert!(problem.line as usize <= lines, "after the end: {problem}");
            }
            return;
        }
    };
    for resource in checked.resources() {
        let stored = Resource::from_value(resource.value());
        assert!(
            stored.is_ok_and(|stored| stored == *resource),
            "{} does not survive the store",
            resource.key()
        );
    }
    let compiled = compile(&checked);
    for (scope, content) in &compiled.scopes {
        let policy = &compiled.policies[content.policy];
        policy.check().expect("what is compiled is valid");
        compiled.facts[content.facts].check().expect("what is compiled is valid");
        Router::build(policy, scope.namespace(), |_| ()).expect("what is compiled can be routed");
    }
});
