//! Join tokens: made, listed, taken back.

use std::time::Duration;

use outrigger_certs::enrol;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::join_token::{self, JoinToken, TOKEN_LIFETIME_MAX_S, TokenId};
use outrigger_snapshot::keys::TrustedKeys;
use outrigger_snapshot::name::ServiceName;
use outrigger_store::write::{Tokens, WriteError, tokens::Known};

use super::{ControlPlane, MeshError, now_ms};

/// Why a token is not made, or not taken back.
#[derive(Debug, thiserror::Error)]
pub enum TokenFailure {
    /// The control plane is no authority.
    #[error("this control plane makes no certificates, so that nobody could join: start it with --ca FOLDER")]
    NoAuthority,
    /// The control plane's own identity.
    #[error("{0} is the control plane itself: no sidecar can be that")]
    Reserved(ServiceName),
    /// Its time.
    #[error("a join token is good for 1 s to {} h", TOKEN_LIFETIME_MAX_S / 3_600)]
    Lifetime,
    /// Not one that this mesh knows.
    #[error("there is no join token {0}; `outrigger certs token list` shows those there are")]
    Unknown(TokenId),
    /// It can't be signed.
    #[error(transparent)]
    Sign(#[from] join_token::TokenError),
    /// No randomness for its id.
    #[error("no new id can be made")]
    Randomness(#[from] outrigger_snapshot::record::NoRandomness),
    /// The store or the key.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

impl From<WriteError> for TokenFailure {
    fn from(error: WriteError) -> Self {
        Self::Mesh(error.into())
    }
}

impl ControlPlane {
    /// Makes a token, and notes in the store that it did.
    ///
    /// # Errors
    /// [`TokenFailure`]; then there is none.
    pub async fn create_token(
        &self,
        service: ServiceName,
        lifetime: Duration,
        reusable: bool,
    ) -> Result<(JoinToken, String), TokenFailure> {
        let current = self.enrolment().ok_or(TokenFailure::NoAuthority)?.current();
        if service == enrol::control_plane() {
            return Err(TokenFailure::Reserved(service));
        }
        if !(1..=TOKEN_LIFETIME_MAX_S).contains(&lifetime.as_secs()) {
            return Err(TokenFailure::Lifetime);
        }
        let now = now_ms();
        let token = JoinToken {
            id: TokenId::random()?,
            service,
            domain: current.folder.domain().clone(),
            expires_unix: (now / 1_000).saturating_add(lifetime.as_secs()),
            reusable,
            roots: current.folder.roots().iter().map(|root| Digest::of(root)).collect(),
        };
        let text = {
            let mut place = self.publisher.lock().await;
            let publisher = self.find_publisher(&mut place)?.ok_or(WriteError::NoKey)?;
            publisher.sign_token(&token)?
        };
        Tokens::new(self.store.clone()).note(&token, now).await?;
        let (id, service, expires_unix) = (token.id, &token.service, token.expires_unix);
        tracing::info!(audit = "token_created", token = %id, %service, expires_unix, reusable, "a join token is made");
        Ok((token, text))
    }

    /// The tokens that the store knows, the youngest first, and how many older ones there are.
    ///
    /// # Errors
    /// The store.
    pub async fn tokens(&self) -> Result<(Vec<(TokenId, Known)>, usize), TokenFailure> {
        Ok(Tokens::new(self.store.clone()).list().await?)
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// The store, or a token that it does not know.
    pub async fn revoke_token(&self, id: TokenId) -> Result<(), TokenFailure> {
        let tokens = Tokens::new(self.store.clone());
        if tokens.known(id).await?.issued.is_none() {
            return Err(TokenFailure::Unknown(id));
        }
        tokens.revoke(id, now_ms()).await?;
        tracing::info!(audit = "token_revoked", token = %id, "a join token is taken back");
        Ok(())
    }

    /// The keys by which tokens are believed.
    pub(crate) fn token_keys(&self) -> Option<TrustedKeys> {
        let own = self.known().key;
        TrustedKeys::new(own.into_iter().chain(self.trusted.iter().copied())).ok()
    }
}
