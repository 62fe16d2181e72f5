use super::*;

fn source(text: &str) -> Vec<Source> {
    vec![Source { name: "test.yaml".to_owned(), text: text.to_owned() }]
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{name: http, port: 80, protocol: HTTP}}]\n  \
         endpoints: {{static: [{{address: '127.0.0.1:{port}'}}]}}\n---\n"
    )
}

fn names(changes: &[Change]) -> Vec<(&str, bool, bool)> {
    changes
        .iter()
        .map(|change| (change.name.as_str(), change.before.is_some(), change.after.is_some()))
        .collect()
}

#[test]
fn applying_adds_and_replaces_and_keeps_the_rest() {
    let first = draft(Verb::Apply, &source(&(service("a", 1) + &service("b", 2))), &[]).unwrap();
    assert_eq!(names(&first.changes), [("a", false, true), ("b", false, true)]);
    let second =
        draft(Verb::Apply, &source(&(service("b", 3) + &service("c", 4))), &first.resources).unwrap();
    assert_eq!(names(&second.changes), [("b", true, true), ("c", false, true)]);
    assert_eq!(second.resources.len(), 3);
    let again = draft(Verb::Apply, &source(&service("b", 3)), &second.resources).unwrap();
    assert!(again.changes.is_empty());
}

#[test]
fn replacing_removes_what_is_not_there_and_says_what_shrinks() {
    let first = draft(Verb::Apply, &source(&(service("a", 1) + &service("b", 2))), &[]).unwrap();
    assert!(first.shrinks.is_empty());
    let second = draft(Verb::Replace, &source(&service("a", 1)), &first.resources).unwrap();
    assert_eq!(names(&second.changes), [("b", true, false)]);
    assert!(!second.shrinks.is_empty());
}

#[test]
fn to_exchange_all_services_is_to_shrink() {
    let first = draft(Verb::Apply, &source(&(service("a", 1) + &service("b", 2))), &[]).unwrap();
    let second =
        draft(Verb::Replace, &source(&(service("c", 1) + &service("d", 2))), &first.resources).unwrap();
    assert_eq!(second.shrinks, ["all 2 services go, and others take their place"]);
}

#[test]
fn deleting_names_all_that_is_not_there() {
    let first = draft(Verb::Apply, &source(&(service("a", 1) + &service("b", 2))), &[]).unwrap();
    let wrong = service("x", 1) + &service("a", 1) + &service("y", 1);
    let problems = draft(Verb::Delete, &source(&wrong), &first.resources).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems}");
    let second = draft(Verb::Delete, &source(&service("a", 9)), &first.resources).unwrap();
    assert_eq!(names(&second.changes), [("a", true, false)]);
}

#[test]
fn restoring_goes_back_and_encoding_is_stable() {
    let first = draft(Verb::Apply, &source(&service("a", 1)), &[]).unwrap();
    let second = draft(Verb::Apply, &source(&service("a", 2)), &first.resources).unwrap();
    let back = restore(&first.resources, &second.resources).unwrap();
    assert_eq!(back.resources, first.resources);
    let encode = |draft: &Draft| encoded(&compiled(&draft.resources).unwrap()).unwrap();
    assert_eq!(encode(&back), encode(&first));
    assert_ne!(encode(&second), encode(&first));
}

#[test]
fn two_of_one_name_in_a_push_are_a_problem() {
    assert!(draft(Verb::Apply, &source(&(service("a", 1) + &service("a", 2))), &[]).is_err());
}
