//! A caller that has proved who it is: another sidecar, by mutual TLS.

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use outrigger_certs::mesh::Mesh;
use outrigger_certs::problem::Problem;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::identity::{ServerName, SpiffeId, TrustDomain};
use rustls_pki_types::CertificateDer;

use self::calls::{Callers, Calls};
use crate::identity::peers::Peer;

pub mod calls;

/// Tells a workload who calls it (as Envoy spells it).
pub const FORWARDED_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Whether a ClientHello is that of a caller of the mesh: it asks for a port of one of its services, or offers what sidecars alone speak
/// ([`outrigger_certs::mesh::Spoken::Opaque`]). Nothing is proved by that; it says which handshake is gone on with.
pub fn is_caller(server_name: Option<&str>, offers_opaque: bool, domain: Option<&TrustDomain>) -> bool {
    let called = server_name.zip(domain).and_then(|(name, domain)| ServerName::read(name, domain));
    called.is_some() || offers_opaque
}

/// See the module.
#[derive(Debug)]
pub struct Caller {
    /// Who.
    pub identity: Arc<SpiffeId>,
    /// The same, as long as that is believed.
    pub peer: Arc<Peer>,
    /// The port of our service that was called, where the handshake says so.
    pub port: Option<u16>,
    /// What the workload is told of it.
    pub certificate: HeaderValue,
    /// Counts its requests.
    pub calls: Arc<Calls>,
}

impl Caller {
    /// Of a peer and its own certificate, and the server name that was asked for; its requests are counted for one worker.
    pub fn new(
        peer: Arc<Peer>,
        leaf: &CertificateDer<'_>,
        server_name: Option<&str>,
        mesh: &Mesh,
        (callers, worker): (&Callers, usize),
    ) -> Result<Self, Problem> {
        let identity = peer.identity.clone();
        let called = server_name.and_then(|name| ServerName::read(name, mesh.bundle().domain()));
        let own = mesh.id().service();
        let port = called.filter(|called| own.as_ref() == Some(&called.service)).map(|called| called.port);
        let mut value = String::new();
        // A String can always be written to.
        let _ = write!(value, "By={};Hash={};URI={identity}", mesh.id(), Digest::of(leaf));
        // SPIFFE IDs and digests have no character that a field value may not.
        let certificate = HeaderValue::try_from(value).map_err(|_| Problem::Malformed)?;
        let calls = callers.calls(&identity, worker);
        Ok(Self { identity, peer, port, certificate, calls })
    }
}
