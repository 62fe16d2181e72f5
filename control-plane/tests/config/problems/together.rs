//! Problems of many resources and files, at once.

use outrigger_control_plane::config::{PROBLEMS_MAX, SOURCE_BYTES_MAX, load, parse};

use crate::{load_text, source};

#[test]
fn the_problems_of_all_files_are_reported_at_once() {
    let sources = [
        source(
            "a.yaml",
            "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: a}, spec: {prots: []}}",
        ),
        source("b.yaml", "a: [b"),
        source(
            "c.yaml",
            "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: c}, \
             spec: {uses: [b], ports: [{port: 80, protocol: HTTP}]}}\n---\n\
             {apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: c}, \
             spec: {ports: [{port: 80, protocol: HTTP}]}}",
        ),
    ];
    let said = load(&[], &sources).unwrap_err().to_string();
    let fields: Vec<&str> = said.lines().map(|line| line.split(": ").take(2).last().unwrap()).collect();
    let files: Vec<&str> = said.lines().map(|line| &line[..6]).collect();
    assert_eq!(
        fields,
        ["spec.ports", "spec.prots", "cannot be read as YAML", "spec.uses[0]", "metadata.name"],
        "{said}"
    );
    assert_eq!(files, ["a.yaml", "a.yaml", "b.yaml", "c.yaml", "c.yaml"]);
}

#[test]
fn a_reference_to_a_resource_with_problems_is_not_dangling() {
    let said = load_text(
        "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: a}, spec: {uses: [b], ports: [{port: 80, protocol: HTTP}]}}\n\
         ---\n{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: b}, spec: {ports: [{port: 0, protocol: HTTP}]}}",
    );
    assert_eq!(
        said.unwrap_err().to_string(),
        "m.yaml:3:96: spec.ports[0].port: is the number 0; expected a whole number from 1 to 65535"
    );
}

#[test]
fn references_to_a_service_with_problems_are_checked_against_the_ports_that_it_has() {
    let service =
        "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: web}, spec: {PORTS, weird: 1}}";
    let route = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {parentRefs: [\
                 {group: '', kind: Service, name: web, port: 81}], rules: [{backendRefs: [{name: web, port: 82}]}]}}";
    let policy = "{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: p}, spec: {targetRefs: \
                  [{kind: Service, name: web, sectionName: nope}]}}";
    let fields = |ports: &str| -> Vec<String> {
        let text = format!("{}\n---\n{route}\n---\n{policy}", service.replace("PORTS", ports));
        load_text(&text).unwrap_err().iter().map(|problem| problem.field.clone()).collect()
    };
    let references =
        ["spec.parentRefs[0].port", "spec.rules[0].backendRefs[0].port", "spec.targetRefs[0].sectionName"];
    assert_eq!(
        fields("ports: [{name: http, port: 80, protocol: HTTP}]"),
        [&["spec.weird"][..], &references].concat()
    );
    // A port that could not be read may be the one that is meant.
    let unread = "ports: [{name: http, port: 80, protocol: HTTP}, {name: more, port: 0, protocol: HTTP}]";
    assert_eq!(fields(unread), ["spec.ports[1].port", "spec.weird"]);
    // What could be read is known to be wrong, whatever the others are.
    let tcp = "ports: [{name: a, port: 81, protocol: TCP}, {name: b, port: 82, protocol: TCP}, {port: 0}]";
    let found = fields(tcp);
    assert!(found.iter().any(|field| field == "spec.parentRefs[0]"), "{found:?}");
    assert!(found.iter().any(|field| field == references[1]), "{found:?}");
}

#[test]
fn what_is_stored_is_named_by_its_key_and_may_be_replaced() {
    let web = "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80, protocol: HTTP}]}}";
    let route = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: route}, spec: {parentRefs: \
                 [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}}";
    let pushed = parse(&[source("web.yaml", web), source("route.yaml", route)]).unwrap();
    let stored: Vec<_> = pushed
        .iter()
        .map(|resource| outrigger_control_plane::config::Resource::from_value(resource.value()).unwrap())
        .collect();
    let changed = source("web.yaml", &web.replace("port: 80", "port: 81"));
    let said = load(&stored, std::slice::from_ref(&changed)).unwrap_err().to_string();
    assert_eq!(
        said,
        "stored HTTPRoute default/route: spec.rules[0].backendRefs[0].port: default/web has no port 80; expected 81"
    );
    let fitting = source("route.yaml", &route.replace("port: 80", "port: 81"));
    assert_eq!(load(&stored, &[changed, fitting]).unwrap().resources().len(), 2);
}

#[test]
fn the_number_of_problems_is_bounded_and_the_rest_counted() {
    let many = "- x\n".repeat(PROBLEMS_MAX + 5);
    let text = format!("apiVersion: v1\nkind: List\nitems:\n{many}");
    let problems = load_text(&text).unwrap_err();
    assert_eq!(
        (problems.iter().count(), problems.len(), problems.omitted()),
        (PROBLEMS_MAX, PROBLEMS_MAX + 5, 5)
    );
    assert!(problems.to_string().ends_with("\nand 5 more"));
}

#[test]
fn a_push_is_bounded_in_bytes() {
    let half = "#".repeat(SOURCE_BYTES_MAX / 2 + 1);
    let said = parse(&[source("a.yaml", &half), source("b.yaml", &half)]).unwrap_err().to_string();
    assert_eq!(
        said,
        format!("b.yaml: the push is too large; expected at most {SOURCE_BYTES_MAX} bytes in all files")
    );
}

#[test]
fn a_few_lines_do_not_unfold_into_millions() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", ")));
    }
    let said = load_text(&text).unwrap_err().to_string();
    assert!(said.ends_with("anchors and aliases repeat more than 20000 values"), "{said}");
    // Also where each alias is small.
    let small = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(99), "*a, ".repeat(200));
    let said = load_text(&small).unwrap_err().to_string();
    assert!(said.ends_with("anchors and aliases repeat more than 20000 values"), "{said}");
}

#[test]
fn problems_are_json_for_programs() {
    let problems = load_text("{apiVersion: v1, kind: Service}").unwrap_err();
    let json = serde_json::to_value(&problems).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "omitted": 0,
            "problems": [{
                "file": "m.yaml", "line": 1, "column": 14, "field": "apiVersion",
                "message": "\"v1\" is not the version of Service here", "expected": "outrigger.dev/v1alpha1"
            }]
        })
    );
    assert_eq!(serde_json::from_value::<outrigger_control_plane::config::Problems>(json).unwrap(), problems);
}

#[test]
fn scopes_that_are_narrowed_are_bounded_together() {
    // Each service uses the next one, whose route leads to the one after it: every scope reaches all that follow.
    let chain = |count: usize| {
        let documents: Vec<String> = (0..count).map(|index| link(index, (index + 1) % count)).collect();
        load_text(&documents.join("\n---\n"))
    };
    assert!(chain(500).is_ok());
    let said = chain(501).unwrap_err().to_string();
    assert!(said.ends_with("; expected at most 250000 services in all scopes with uses"), "{said}");
}

fn link(index: usize, next: usize) -> String {
    format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: s{index}}}, \
         spec: {{uses: [s{next}], ports: [{{port: 80, protocol: HTTP}}]}}}}\n---\n\
         {{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r{index}}}, spec: {{parentRefs: \
         [{{group: '', kind: Service, name: s{index}}}], rules: [{{backendRefs: [{{name: s{next}, port: 80}}]}}]}}}}"
    )
}
