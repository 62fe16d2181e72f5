//! Whether a request for a certificate is granted.

use std::net::IpAddr;
use std::sync::Arc;

use outrigger_certs::authority::{IssueError, Request};
use outrigger_certs::inspect::Facts;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use outrigger_certs::{enrol, pem};
use outrigger_snapshot::identity::SpiffeId;
use outrigger_snapshot::join_token::{JoinToken, TokenError, TokenId};
use outrigger_store::write::Tokens;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::Value;

use super::{Current, Enrolment, Refusal};
use crate::state::ControlPlane;

/// What a sidecar sends.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// The join token, if it shows one.
    pub(super) token: Option<&'a str>,
    /// The certificates that it showed in the handshake, its own first. Not believed yet.
    pub(super) certificates: &'a [CertificateDer<'static>],
    /// The request, in PEM.
    pub(super) request: &'a str,
    /// Where it comes from.
    pub(super) from: IpAddr,
}

/// A certificate that was made.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) id: SpiffeId,
    /// How it was proved: a word of metrics, and which token or certificate.
    pub(super) proof: (&'static str, String),
    pub(super) facts: Facts,
    pub(super) chain: String,
    pub(super) roots: String,
}

impl ControlPlane {
    /// Makes a certificate for whoever proves an identity of the mesh.
    pub(super) async fn enrol(
        &self,
        enrolment: &Enrolment,
        asked: &Asked<'_>,
        now: UnixTime,
    ) -> Result<Granted, Refusal> {
        let now_ms = now.as_secs().saturating_mul(1_000);
        let decided = self.decide(enrolment, asked, now).await;
        match &decided {
            Ok(granted) => enrolment.metrics.issue(granted.proof.0),
            Err(refusal) => {
                enrolment.metrics.refuse(refusal.code());
                if refusal.is_the_callers() {
                    enrolment.attempts().fail(asked.from, now_ms);
                }
            }
        }
        decided
    }

    async fn decide(
        &self,
        enrolment: &Enrolment,
        asked: &Asked<'_>,
        now: UnixTime,
    ) -> Result<Granted, Refusal> {
        if !self.has_turned() {
            return Err(Refusal::Starting);
        }
        let current = enrolment.current();
        let held_off = || enrolment.held_off(asked.from, now.as_secs().saturating_mul(1_000));
        let (id, proof, token) = match (asked.token, asked.certificates.split_first()) {
            (None, Some((leaf, above))) => {
                let bundle = Arc::new(self.believed(&current));
                let unbelieved = |problem| match held_off() {
                    Some(after_ms) => Refusal::RateLimited { after_ms },
                    None => Refusal::Certificate(problem),
                };
                let id = Verifier::new(bundle).verify(leaf, above, now).map_err(unbelieved)?;
                let serial = Facts::of(leaf).map_err(Refusal::Certificate)?.serial;
                (id, ("certificate", serial), None)
            }
            (token, _) => {
                if let Some(after_ms) = held_off() {
                    return Err(Refusal::RateLimited { after_ms });
                }
                let token = self.read_token(token.ok_or(Refusal::NoProof)?, &current, now)?;
                let id = SpiffeId::of_service(&token.domain, &token.service);
                (id, ("token", token.id.to_string()), Some(token))
            }
        };
        let request = Request::read(asked.request).map_err(|_| Refusal::Request)?;
        request.check(&id).map_err(|error| other(error, token.as_ref().map(|token| token.id)))?;
        if enrol::is_control_plane(&id) {
            return Err(Refusal::Reserved(id));
        }
        if let Some(token) = &token {
            self.use_token(token, &request, now).await?;
        }
        let authority = current.folder.authority();
        let chain = authority.sign(&request, &id, enrolment.lifetime, now).map_err(Refusal::Authority)?;
        let read = pem::chain(chain.as_bytes(), "it").map_err(|error| Refusal::Authority(error.into()))?;
        let facts =
            Facts::of(&read[0]).map_err(|problem| Refusal::Authority(IssueError::Authority(problem)))?;
        Ok(Granted { id, proof, facts, chain, roots: self.roots(&current) })
    }

    fn read_token(&self, text: &str, current: &Current, now: UnixTime) -> Result<JoinToken, Refusal> {
        let trusted = self.token_keys().ok_or(Refusal::Starting)?;
        let token = JoinToken::verify(text, &trusted).map_err(|error| match error {
            TokenError::Untrusted(_) | TokenError::Forged => Refusal::TokenUntrusted(error),
            TokenError::Unreadable | TokenError::Sign(_) => Refusal::TokenUnreadable(error),
        })?;
        if token.expires_unix <= now.as_secs() {
            return Err(Refusal::TokenExpired(token.id));
        }
        if token.domain != *current.folder.domain() {
            let asked = SpiffeId::of_service(current.folder.domain(), &token.service).to_string();
            let allowed = SpiffeId::of_service(&token.domain, &token.service);
            return Err(Refusal::TokenOfOtherService { token: token.id, asked, allowed });
        }
        Ok(token)
    }

    /// Last of all: a request that is refused uses nothing up.
    async fn use_token(&self, token: &JoinToken, request: &Request, now: UnixTime) -> Result<(), Refusal> {
        let store = |error| Refusal::Store(Box::new(error));
        let tokens = Tokens::new(self.store().clone());
        if tokens.is_revoked(token.id).await.map_err(store)? {
            return Err(Refusal::TokenRevoked(token.id));
        }
        let now_ms = now.as_secs().saturating_mul(1_000);
        if !token.reusable && !tokens.take(token.id, request.key(), now_ms).await.map_err(store)? {
            return Err(Refusal::TokenUsed(token.id));
        }
        Ok(())
    }

    /// By whom certificates are believed: the authority's own roots, and whoever the Mesh resource names while roots are replaced.
    fn believed(&self, current: &Current) -> TrustBundle {
        let (mut roots, revocations) = self.mesh_trust(current);
        roots.extend(current.folder.roots().iter().cloned());
        let domain = current.folder.domain().clone();
        let revoked = pem::revocations(revocations.as_bytes(), "the Mesh").unwrap_or_default();
        TrustBundle::new(domain.clone(), &roots, &revoked)
            .or_else(|_| TrustBundle::new(domain, current.folder.roots(), &[]))
            .expect("the authority's own roots were believed when they were read")
    }

    /// The same as text, for a sidecar that has no snapshot yet.
    fn roots(&self, current: &Current) -> String {
        let mut roots = current.folder.roots().to_vec();
        let (named, _) = self.mesh_trust(current);
        roots.extend(named.into_iter().filter(|root| !current.folder.roots().contains(root)));
        roots.iter().map(|root| pem::written("CERTIFICATE", root)).collect()
    }

    /// Roots and revocation lists of the newest Mesh resource, if it is of the same trust domain.
    fn mesh_trust(&self, current: &Current) -> (Vec<CertificateDer<'static>>, String) {
        let Some(revision) = self.newest_known() else { return Default::default() };
        let is_mesh = |resource: &&Value| resource["kind"] == "Mesh";
        let Some(mesh) = revision.resources.iter().find(is_mesh) else { return Default::default() };
        let text = |field: &str| mesh["spec"][field].as_str().unwrap_or_default();
        if text("trustDomain") != current.folder.domain().as_str() {
            return Default::default();
        }
        let roots = pem::roots(text("trustBundle").as_bytes(), "the Mesh").unwrap_or_default();
        (roots, text("revocations").to_owned())
    }
}

fn other(error: IssueError, token: Option<TokenId>) -> Refusal {
    match (error, token) {
        (IssueError::OtherIdentity { asked, allowed }, Some(token)) => {
            Refusal::TokenOfOtherService { token, asked, allowed }
        }
        (IssueError::OtherIdentity { asked, allowed }, None) => Refusal::OtherIdentity { asked, allowed },
        (error, _) => Refusal::Authority(error),
    }
}
