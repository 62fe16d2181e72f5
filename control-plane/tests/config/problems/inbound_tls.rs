//! TLS with clients outside the mesh that ends at sidecars: every mistake, and exactly what is said about it.

use super::MESH;
use super::mesh::{ROOT, mesh, said_of};
use crate::load_text;

/// A policy for a port of web, from line 5 on, and a `ConfigMap` with authorities and one without.
fn policy(section: &str, tls: &str) -> String {
    let root = ROOT.replace('\n', "\\n");
    format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {{name: policy}}, spec:\n{{targetRefs: [{{kind: Service, \
         name: web{section}}}],\ntls: {{{tls}}}}}}}\n---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: clients}}, data: {{ca.crt: \
         \"{root}\"}}}}\n---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: empty}}, data: {{a: b}}}}"
    )
}

const SHOWN: &str = "certificateRefs: [{name: web}]";

fn asking(name: &str, more: &str) -> String {
    format!(
        "{SHOWN}, validation: {{caCertificateRefs: [{{group: '', kind: ConfigMap, name: {name}}}]{more}}}"
    )
}

#[test]
fn mistakes_are_named() {
    let other = "certificateRefs: [{name: web, namespace: other}]";
    for (tls, said) in [
        (
            String::new(),
            &[
                "m.yaml:7:6: spec.tls.certificateRefs: is missing; expected the certificates that are shown, by the name that the client asks for, else the first",
            ][..],
        ),
        (
            "certificateRefs: []".to_owned(),
            &["m.yaml:7:24: spec.tls.certificateRefs: has 0 items; expected 1 to 64"],
        ),
        (
            "certificateRefs: [{name: Web}], minversion: '1.2'".to_owned(),
            &[
                r#"m.yaml:7:32: spec.tls.certificateRefs[0].name: "Web" is not valid; expected 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit; did you mean "web"?"#,
                r#"m.yaml:7:39: spec.tls.minversion: is not a field of this object; expected one of certificateRefs, minVersion, validation, cleartext; did you mean "minVersion"?"#,
            ],
        ),
        (
            format!("{SHOWN}, minVersion: 1.3"),
            &["m.yaml:7:51: spec.tls.minVersion: is the number 1.3; expected a text; put quotes around it"],
        ),
        (
            format!("{SHOWN}, minVersion: '1.1', cleartext: allowed"),
            &[
                r#"m.yaml:7:51: spec.tls.minVersion: "1.1" is not known; expected one of 1.2, 1.3; did you mean "1.2"?"#,
                r#"m.yaml:7:69: spec.tls.cleartext: "allowed" is not known; expected one of Refused, Allowed; did you mean "Allowed"?"#,
            ],
        ),
        (
            other.to_owned(),
            &[
                "m.yaml:7:48: spec.tls.certificateRefs[0].namespace: is another namespace, for which a ReferenceGrant is needed, and those are not supported by Outrigger yet; expected default",
            ],
        ),
        (
            format!("{SHOWN}, validation: {{}}"),
            &[
                "m.yaml:7:51: spec.tls.validation.caCertificateRefs: is missing; expected who is believed about them",
            ],
        ),
        (
            format!("{SHOWN}, validation: {{caCertificateRefs: []}}"),
            &["m.yaml:7:71: spec.tls.validation.caCertificateRefs: has 0 items; expected 1 to 8"],
        ),
        (
            asking("client", ""),
            &[
                r#"m.yaml:7:107: spec.tls.validation.caCertificateRefs[0].name: there is no ConfigMap default/client; expected a ConfigMap of this push or of the mesh; did you mean "clients"?"#,
            ],
        ),
        (
            asking("empty", ""),
            &[
                "m.yaml:7:107: spec.tls.validation.caCertificateRefs[0].name: ConfigMap default/empty has no certificates; expected PEM in data, as ca.crt",
            ],
        ),
        (
            asking("clients", "") + ", cleartext: Allowed",
            &[
                "m.yaml:7:130: spec.tls.cleartext: cannot be Allowed where clients must prove who they are: in the clear nobody does; expected Refused, or validation.mode AllowInsecureFallback",
            ],
        ),
    ] {
        said_of(policy(", sectionName: http", &tls), said);
    }
}

#[test]
fn clients_outside_the_mesh_come_where_they_may_and_where_requests_are_looked_at() {
    said_of(
        policy(", sectionName: tls", SHOWN),
        &[
            "m.yaml:6:55: spec.targetRefs[0].sectionName: port tls of default/web does not carry HTTP; expected a port of protocol HTTP, HTTP2 or GRPC, or nothing but authorization",
        ],
    );
    let strict = mesh(ROOT).replace("trustDomain", "mtls: Strict, trustDomain");
    said_of(
        format!("{}\n---\n{strict}", policy("", SHOWN)),
        &[
            "m.yaml:7:6: spec.tls: has no effect: default/web is mtls: Strict, and lets in nobody but callers of the mesh; expected a Service with mtls: Permissive or Disabled",
        ],
    );
}

#[test]
fn what_fits_together_is_taken() {
    for tls in [
        asking("clients", ", mode: AllowInsecureFallback") + ", cleartext: Allowed, minVersion: \"1.2\"",
        asking("clients", "") + ", cleartext: Refused",
    ] {
        for section in ["", ", sectionName: http"] {
            let text = format!("{MESH}{}\n---\n{}", policy(section, &tls), mesh(ROOT));
            load_text(&text).unwrap_or_else(|problems| panic!("{problems}"));
        }
    }
}
