//! The mesh and what asks for identities: every mistake, and exactly what is said about it.

use super::{Wrong, check};

pub(super) const ROOT: &str = include_str!("../../../src/config/shape/tests/root.pem");

/// A mesh of this bundle, as one line of YAML.
pub(super) fn mesh(bundle: &str) -> String {
    let bundle = bundle.replace('\n', "\\n");
    format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: Mesh, metadata: {{name: mesh}}, spec: {{trustDomain: mesh.test, trustBundle: \"{bundle}\"}}}}"
    )
}

pub(super) fn said_of(text: String, said: &[&str]) {
    // Cases are told apart by their text for as long as the tests run.
    check(&Wrong::Text(text.leak()), said);
}

#[test]
fn a_bundle_must_be_certificates() {
    let half = &ROOT[..ROOT.len() / 2];
    for (bundle, said) in [
        (
            "",
            "m.yaml:5:118: spec.trustBundle: it has no certificate: expected at least one, in PEM; expected certificates of authorities in PEM, whole, from BEGIN to END lines, and nothing besides",
        ),
        (
            half,
            "m.yaml:5:118: spec.trustBundle: it is damaged (an END line is missing): expected PEM, each certificate whole, from its BEGIN to its END line; expected certificates of authorities in PEM, whole, from BEGIN to END lines, and nothing besides",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "m.yaml:5:118: spec.trustBundle: the certificate cannot be read; expected certificates of authorities in PEM, whole, from BEGIN to END lines, and nothing besides",
        ),
    ] {
        said_of(mesh(bundle), &[said]);
    }
}

#[test]
fn there_is_one_mesh_and_what_needs_it_says_so() {
    said_of(
        format!("{}\n---\n{}", mesh(ROOT), mesh(ROOT).replace("{name: mesh}", "{name: other}")),
        &["m.yaml:7:67: metadata.name: there is a Mesh before, in m.yaml:5; expected one Mesh"],
    );
    said_of(
        "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [{port: 1, protocol: TCP}], mtls: Strict}}".into(),
        &["m.yaml:5:123: spec.mtls: needs authorities that are believed, and there is no Mesh that names them; expected a Mesh, or Disabled"],
    );
    let policy = "{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: web}, spec: {targetRefs: [{kind: Service, name: web, sectionName: http}], authorization: {rules: [{name: a, access: Allow, identities: ['spiffe://other.test/**']}]}}}";
    said_of(
        format!("{}\n---\n{policy}", mesh(ROOT)),
        &[
            "m.yaml:7:165: spec.authorization.rules[0].identities: spiffe://other.test/** is of another trust domain than the mesh, so nobody has it; expected spiffe://mesh.test/…",
        ],
    );
}

#[test]
fn rules_that_decide_nothing_are_mistakes() {
    for (settings, said) in [
        (
            "authorization: {default: Allow, rules: [{name: a, access: Allow}]}",
            "m.yaml:6:88: spec.authorization.default: leaves rules that allow something without effect, since all is allowed; expected Deny, or no rule that allows",
        ),
        (
            "authorization: {rules: [{name: a, access: Deny}, {name: a, access: Deny}]}",
            "m.yaml:6:119: spec.authorization.rules[1].name: \"a\" is the name of rules[0] too; expected each name once",
        ),
        (
            "authorization: {rules: [{name: a, access: Deny, methods: [get]}]}",
            "m.yaml:6:121: spec.authorization.rules[0].methods[0]: \"get\" is not valid; expected a method in upper case, like GET",
        ),
        (
            "authorization: {rules: [{name: a, access: Deny, identities: ['spiffe://a/x*']}]}",
            "m.yaml:6:124: spec.authorization.rules[0].identities[0]: \"spiffe://a/x*\" is not valid; expected spiffe://TRUST-DOMAIN/PATH, where '*' stands for one element of the path and a last '**' for all that follow",
        ),
        (
            "priorities: [{priority: 4}]",
            "m.yaml:6:87: spec.priorities[0].priority: is the number 4; expected a whole number from 0 to 3",
        ),
    ] {
        check(&Wrong::Inbound(settings), &[said]);
    }
}
