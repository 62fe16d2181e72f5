//! The shape of `gateway.networking.k8s.io/v1` `BackendTLSPolicy`: every field of v1.6, of both channels.

use outrigger_snapshot::validate::AUTHORITIES_MAX;

use super::super::text::Text;
use super::backend_policy::TARGETS_MAX;
use super::gateway::{AUTHORITY_GROUP, AUTHORITY_KIND, AUTHORITY_NAME};
use super::resource::{SERVICE_GROUPS, SERVICE_KINDS};
use super::{Object, Shape, Word, optional, required, unsupported, word};

/// `spec`.
pub(crate) static SPEC: Object = Object {
    fields: &[
        required(
            "targetRefs",
            Shape::List { of: &Shape::Object(&TARGET), least: 1, most: TARGETS_MAX },
            "the services that are called by TLS",
        ),
        required("validation", Shape::Object(&VALIDATION), "what is asked of their certificates"),
        unsupported("options", "nothing more can be set"),
    ],
};

static TARGET: Object = Object {
    fields: &[
        required("group", Shape::Choice(&SERVICE_GROUPS), "\"\", the group of Service"),
        required("kind", Shape::Choice(&SERVICE_KINDS), "Service"),
        required("name", Shape::Text(Text::Label), "a Service in the namespace of the policy"),
        optional("sectionName", Shape::Text(Text::Label), "one port of it, by name; absent, all"),
    ],
};

static VALIDATION: Object = Object {
    fields: &[
        optional(
            "caCertificateRefs",
            Shape::List { of: &Shape::Object(&AUTHORITY), least: 1, most: AUTHORITIES_MAX },
            "who is believed about them; this or `wellKnownCACertificates`",
        ),
        optional(
            "wellKnownCACertificates",
            Shape::Choice(&WELL_KNOWN),
            "whom the proxy's system believes is believed",
        ),
        required(
            "hostname",
            Shape::Text(Text::Host),
            "the name that they are asked for (SNI), and that their certificates must be for unless `subjectAltNames` are given",
        ),
        optional(
            "subjectAltNames",
            Shape::List { of: &Shape::Object(&ALT_NAME), least: 1, most: 5 },
            "names of which certificates must have one, in place of `hostname`",
        ),
        unsupported("clusterTrustBundleRef", "authorities of a ClusterTrustBundle"),
    ],
};

static WELL_KNOWN: [Word; 1] = [word("System")];

static AUTHORITY: Object = Object { fields: &[AUTHORITY_GROUP, AUTHORITY_KIND, AUTHORITY_NAME] };

static ALT_NAME: Object = Object {
    fields: &[
        required("type", Shape::Choice(&ALT_NAMES), "the kind of name"),
        optional("hostname", Shape::Text(Text::Host), "for `Hostname` only, which needs it"),
        optional("uri", Shape::Text(Text::Any), "for `URI` only, which needs it"),
    ],
};

static ALT_NAMES: [Word; 2] = [word("Hostname"), word("URI")];
