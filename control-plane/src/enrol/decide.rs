//! Whether a request for a certificate is granted.

use std::net::IpAddr;
use std::sync::Arc;

use outrigger_certs::authority::{IssueError, Request};
use outrigger_certs::inspect::Facts;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use outrigger_certs::{enrol, pem};
use outrigger_snapshot::identity::{SpiffeId, TrustDomain};
use outrigger_snapshot::join_token::{JoinToken, TokenError, TokenId};
use outrigger_store::write::Tokens;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
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

/// Who asks, as was proved.
struct Proved {
    id: SpiffeId,
    /// See [`Granted::proof`].
    proof: (&'static str, String),
    /// The join token, if it was proved by one.
    token: Option<JoinToken>,
    /// The authority that was in force meanwhile, which is to make the certificate.
    current: Arc<Current>,
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
        let (token, decided) = match self.proved(enrolment, asked, now) {
            Ok(proved) => {
                let token = proved.token.as_ref().map(|token| token.id);
                (token, self.grant(enrolment, asked, proved, now).await)
            }
            Err(refusal) => (None, Err(refusal)),
        };
        match &decided {
            Ok(granted) => enrolment.metrics.issue(granted.proof.0),
            Err(refusal) => {
                enrolment.metrics.refuse(refusal.code());
                match token {
                    _ if !refusal.is_the_callers() => {}
                    Some(token) => enrolment.attempts().fail_token(asked.from, token, now_ms),
                    None => enrolment.attempts().fail(asked.from, now_ms),
                }
            }
        }
        decided
    }

    /// Who asks. Needs no store and little time, so that what others have done at the same address keeps off nobody who can prove it.
    fn proved(&self, enrolment: &Enrolment, asked: &Asked<'_>, now: UnixTime) -> Result<Proved, Refusal> {
        if !self.has_turned() {
            return Err(Refusal::Starting);
        }
        let now_ms = now.as_secs().saturating_mul(1_000);
        let held_off = {
            let mut attempts = enrolment.attempts();
            let held_off = attempts.held_off(asked.from, now_ms);
            match held_off {
                Some(after_ms) if !attempts.may_check(now_ms) => {
                    return Err(Refusal::RateLimited { after_ms });
                }
                other => other,
            }
        };
        let current = enrolment.current();
        let proved = match (asked.token, asked.certificates.split_first()) {
            (Some(text), _) => self.read_token(text, &current, now).map(|token| Proved {
                id: SpiffeId::of_service(&token.domain, &token.service),
                proof: ("token", token.id.to_string()),
                token: Some(token),
                current: current.clone(),
            }),
            (None, Some((leaf, above))) => self.believed(&current).and_then(|bundle| {
                let id = Verifier::new(Arc::new(bundle)).verify(leaf, above, now);
                let id = id.map_err(Refusal::Certificate)?;
                let serial = Facts::of(leaf).map_err(Refusal::Certificate)?.serial;
                Ok(Proved { id, proof: ("certificate", serial), token: None, current: current.clone() })
            }),
            (None, None) => Err(Refusal::NoProof),
        };
        proved.map_err(|refusal| match held_off {
            Some(after_ms) if refusal.is_the_callers() => Refusal::RateLimited { after_ms },
            _ => refusal,
        })
    }

    async fn grant(
        &self,
        enrolment: &Enrolment,
        asked: &Asked<'_>,
        Proved { id, proof, token, current }: Proved,
        now: UnixTime,
    ) -> Result<Granted, Refusal> {
        let id_of_token = token.as_ref().map(|token| token.id);
        if let Some(token) = id_of_token {
            let now_ms = now.as_secs().saturating_mul(1_000);
            if let Some(after_ms) = enrolment.attempts().token_held_off(asked.from, token, now_ms) {
                return Err(Refusal::RateLimited { after_ms });
            }
        }
        let request = Request::read(asked.request).map_err(|_| Refusal::Request)?;
        request.check(&id).map_err(|error| other(error, id_of_token))?;
        if enrol::is_control_plane(&id) {
            return Err(Refusal::Reserved(id));
        }
        let authority = |problem| Refusal::Authority(IssueError::Authority(problem));
        current.folder.check_time(now).map_err(authority)?;
        let roots = self.roots(&current)?;
        if let Some(token) = &token {
            self.use_token(token, &request, now).await?;
        }
        let chain = current.folder.authority().sign(&request, &id, enrolment.lifetime, now);
        let chain = chain.map_err(Refusal::Authority)?;
        let read = pem::chain(chain.as_bytes(), "it").map_err(|error| Refusal::Authority(error.into()))?;
        let facts = Facts::of(&read[0]).map_err(authority)?;
        Ok(Granted { id, proof, facts, chain, roots })
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
        // An empty store knows of nothing that was taken back.
        if !tokens.is_issued(token.id).await.map_err(store)? {
            return Err(Refusal::TokenUnknown(token.id));
        }
        if tokens.is_revoked(token.id).await.map_err(store)? {
            return Err(Refusal::TokenRevoked(token.id));
        }
        let now_ms = now.as_secs().saturating_mul(1_000);
        if !token.reusable && !tokens.take(token.id, request.key(), now_ms).await.map_err(store)? {
            return Err(Refusal::TokenUsed(token.id));
        }
        Ok(())
    }

    /// By whom certificates are believed: the authority's own roots, and whoever the Mesh resource names while roots are replaced. Where it can't
    /// be told who was taken back, nobody is.
    fn believed(&self, current: &Current) -> Result<TrustBundle, Refusal> {
        let Trust { mut roots, revocations } = self.mesh_trust(current)?;
        roots.extend(current.folder.roots().iter().cloned());
        TrustBundle::new(current.folder.domain().clone(), &roots, &revocations)
            .map_err(|problem| unread("trustBundle or revocations", problem))
    }

    /// The same as text, for a sidecar that has no snapshot yet.
    fn roots(&self, current: &Current) -> Result<String, Refusal> {
        let mut roots = current.folder.roots().to_vec();
        let named = self.mesh_trust(current)?.roots;
        roots.extend(named.into_iter().filter(|root| !current.folder.roots().contains(root)));
        Ok(roots.iter().map(|root| pem::written("CERTIFICATE", root)).collect())
    }

    /// What the newest Mesh resource says.
    fn mesh_trust(&self, current: &Current) -> Result<Trust, Refusal> {
        let Some(revision) = self.newest_known() else { return Ok(Trust::default()) };
        let is_mesh = |resource: &&Value| resource["kind"] == "Mesh";
        let Some(mesh) = revision.resources.iter().find(is_mesh) else { return Ok(Trust::default()) };
        Trust::of(&mesh["spec"], current.folder.domain())
    }
}

fn unread(field: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Refusal {
    Refusal::Mesh { field, source: Box::new(source) }
}

/// Who is believed, and what they have taken back.
#[derive(Debug, Default)]
struct Trust {
    roots: Vec<CertificateDer<'static>>,
    revocations: Vec<CertificateRevocationListDer<'static>>,
}

impl Trust {
    /// Of a Mesh, if it is of this trust domain.
    fn of(spec: &Value, domain: &TrustDomain) -> Result<Self, Refusal> {
        if spec["trustDomain"].as_str() != Some(domain.as_str()) {
            return Ok(Self::default());
        }
        let text = |field: &'static str| match &spec[field] {
            Value::Null => Ok(&b""[..]),
            Value::String(text) => Ok(text.as_bytes()),
            _ => Err(unread(field, std::io::Error::other("expected PEM"))),
        };
        let (roots, revocations) = ("trustBundle", "revocations");
        Ok(Self {
            roots: pem::roots(text(roots)?, "it").map_err(|error| unread(roots, error))?,
            revocations: pem::revocations(text(revocations)?, "it")
                .map_err(|error| unread(revocations, error))?,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Once, a list that nobody could read counted as none: who was revoked got in.
    #[test]
    fn where_it_cannot_be_told_who_was_taken_back_nobody_is_believed() {
        let domain: TrustDomain = "mesh.test".parse().unwrap();
        let root = outrigger_certs::authority::make_root(
            &domain,
            std::time::Duration::from_secs(60),
            UnixTime::now(),
        );
        let root = root.unwrap().certificate;
        let cut = |text: &str| text[..text.len() / 2].to_owned();
        let mesh = |bundle: Value, revocations: Value| serde_json::json!({"trustDomain": "mesh.test", "trustBundle": bundle, "revocations": revocations});
        let read = Trust::of(&mesh(root.clone().into(), Value::Null), &domain).unwrap();
        assert_eq!((read.roots.len(), read.revocations.len()), (1, 0));
        let other = serde_json::json!({"trustDomain": "other.test"});
        assert!(Trust::of(&other, &domain).unwrap().roots.is_empty());
        let half = "-----BEGIN X509 CRL-----\nMIIB";
        for (bundle, revocations, field) in [
            (cut(&root).into(), Value::Null, "trustBundle"),
            ("".into(), Value::Null, "trustBundle"),
            (root.clone().into(), 7.into(), "revocations"),
            (root.clone().into(), half.into(), "revocations"),
        ] {
            let refused = Trust::of(&mesh(bundle, revocations), &domain).unwrap_err();
            assert_eq!((refused.code(), refused.status().as_u16()), ("mesh", 503));
            assert!(refused.to_string().contains(field), "{refused}");
            assert!(!refused.is_the_callers());
        }
    }
}
