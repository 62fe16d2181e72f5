//! The shape of `outrigger.dev/v1alpha1` `Mesh`.

use super::super::text::Text;
use super::{Object, Shape, Word, optional, required, word};

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required(
            "trustDomain",
            Shape::Text(Text::TrustDomain),
            "the name that all identities of the mesh have in common: spiffe://TRUST-DOMAIN/ns/NAMESPACE/svc/NAME",
        ),
        required(
            "trustBundle",
            Shape::Text(Text::Pem),
            "the certificates of the authorities that are believed, in PEM; several while one follows another",
        ),
        optional(
            "revocations",
            Shape::Text(Text::Pem),
            "lists of certificates that their authorities have taken back, in PEM, all of which count; beside the list of an intermediate, its certificate; absent, none",
        ),
        optional(
            "mtls",
            Shape::Choice(&MTLS),
            "what sidecars ask of callers where their Service says nothing; `Permissive` if absent",
        ),
    ],
};

/// What is asked of callers.
pub(super) static MTLS: [Word; 3] = [word("Disabled"), word("Permissive"), word("Strict")];
