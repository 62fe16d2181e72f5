//! How endpoints are dialled: in the clear, as sidecars of the mesh, or by TLS as servers outside it.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use outrigger_certs::pem;
use outrigger_certs::problem::Problem;
use outrigger_certs::web::{self, Roots, Shown, Upstream};
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::facts::{self, Authorities, Facts};
use outrigger_snapshot::policy::CertificateName;
use rustls_pki_types::ServerName;

use crate::report::system_roots;

/// How an endpoint is dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tls {
    /// In the clear.
    #[default]
    None,
    /// By mutual TLS between sidecars.
    Mesh,
    /// By TLS.
    Server(Arc<UpstreamTls>),
}

/// What makes TLS towards servers the same: connections of another are not used again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamSettings {
    asked: facts::UpstreamTls,
    /// Of the certificates of those authorities that are listed.
    authorities: Vec<Option<Digest>>,
    shown: Option<CertificateName>,
}

impl UpstreamSettings {
    /// Of what is asked of servers, and what is shown to them.
    pub fn new(asked: &facts::UpstreamTls, facts: &Facts, shown: Option<&CertificateName>) -> Self {
        let digest = |name| facts.authorities.get(name).map(|pem| Digest::of(pem.as_bytes()));
        let authorities = match &asked.authorities {
            Authorities::System => Vec::new(),
            Authorities::Listed(names) => names.iter().map(digest).collect(),
        };
        Self { asked: asked.clone(), authorities, shown: shown.cloned() }
    }

    /// The certificate that is shown to servers that ask for one.
    pub fn shown(&self) -> Option<&CertificateName> {
        self.shown.as_ref()
    }
}

/// TLS towards servers that are alike. Compared by its settings.
#[derive(Debug)]
pub struct UpstreamTls {
    settings: UpstreamSettings,
    /// The name that they are asked for.
    name: Result<ServerName<'static>, Problem>,
    tls: Result<Upstream, Problem>,
    shown: Option<Arc<Shown>>,
}

impl UpstreamTls {
    /// Of settings. Where nobody can be believed, nobody is: that is found out when an endpoint is dialled, and concerns no other.
    pub fn new(settings: UpstreamSettings, facts: &Facts) -> Self {
        let shown = settings.shown.as_ref().map(|_| Arc::new(Shown::default()));
        let asked = &settings.asked;
        let roots = roots(&asked.authorities, facts);
        let tls = roots.and_then(|roots| {
            Upstream::new(roots, asked.names.clone(), shown.clone()).map_err(|_| Problem::Malformed)
        });
        let name = ServerName::try_from(asked.hostname.clone()).map_err(|_| Problem::WrongName);
        Self { settings, name, tls, shown }
    }

    /// The certificate that is shown, if any is, and where what is in force is put.
    pub fn shown(&self) -> Option<(&CertificateName, &Arc<Shown>)> {
        self.settings.shown.as_ref().zip(self.shown.as_ref())
    }

    /// Whether a certificate is to be shown, and there is none.
    pub fn lacks_certificate(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| !shown.is_there())
    }

    /// What a handshake needs.
    pub fn parts(&self) -> Result<(&ServerName<'static>, &Upstream), Problem> {
        Ok((self.name.as_ref().map_err(|problem| *problem)?, self.tls.as_ref().map_err(|problem| *problem)?))
    }
}

fn roots(authorities: &Authorities, facts: &Facts) -> Result<Roots, Problem> {
    match authorities {
        Authorities::System => web::usable_roots(&system_roots().map_err(|_| Problem::NoTrust)?),
        Authorities::Listed(names) => listed_roots(names, facts),
    }
}

/// Authorities that facts have. If one is missing, nobody is believed: policy and facts may be of different ages.
pub fn listed_roots(names: &[CertificateName], facts: &Facts) -> Result<Roots, Problem> {
    let mut certificates = Vec::new();
    for name in names {
        let pem = facts.authorities.get(name).ok_or(Problem::NoTrust)?;
        certificates.extend(pem::roots(pem.as_bytes(), "it").map_err(|_| Problem::NoTrust)?);
    }
    web::roots(&certificates)
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for UpstreamTls {}

impl PartialOrd for UpstreamTls {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UpstreamTls {
    fn cmp(&self, other: &Self) -> Ordering {
        self.settings.cmp(&other.settings)
    }
}

impl Hash for UpstreamTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.settings.hash(state);
    }
}
