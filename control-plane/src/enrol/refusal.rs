//! Why a sidecar gets no certificate. Each has a word of its own, in the answer, in the audit log and in metrics.

use axum::http::StatusCode;
use outrigger_certs::authority::IssueError;
use outrigger_certs::problem::Problem;
use outrigger_snapshot::identity::SpiffeId;
use outrigger_snapshot::join_token::{TokenError, TokenId};
use outrigger_store::write::WriteError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Neither token nor certificate.
    #[error(
        "nothing proves who asks: show a join token (`outrigger certs token create`), or the current certificate"
    )]
    NoProof,
    /// Not a token.
    #[error("{0}")]
    TokenUnreadable(TokenError),
    /// Signed by nobody who is trusted, or altered.
    #[error("{0}")]
    TokenUntrusted(TokenError),
    /// Its time is over.
    #[error("join token {0} has expired: make another one (`outrigger certs token create`)")]
    TokenExpired(TokenId),
    /// Used for another key.
    #[error(
        "join token {0} was used before, by another sidecar: make another one for this one (`outrigger certs token create`)"
    )]
    TokenUsed(TokenId),
    /// Not noted in the store, as each is when it is made.
    #[error(
        "the store does not know join token {0}, which this mesh has made: is it another store, or an older state of it? Make another token (`outrigger certs token create`)"
    )]
    TokenUnknown(TokenId),
    /// Taken back.
    #[error("join token {0} was revoked")]
    TokenRevoked(TokenId),
    /// For a service of another name, or of another mesh.
    #[error(
        "join token {token} is for {allowed}, and the request asks for {asked}: make one for that service"
    )]
    TokenOfOtherService {
        /// Which token.
        token: TokenId,
        /// By the request's own words.
        asked: String,
        /// By the token.
        allowed: SpiffeId,
    },
    /// The certificate that was shown.
    #[error("the certificate that was shown is not believed: {0}; a join token lets the sidecar in again")]
    Certificate(Problem),
    /// A certificate for one identity, and a request for another.
    #[error("the certificate that was shown is {allowed}'s, and the request asks for {asked}")]
    OtherIdentity {
        /// By the request's own words.
        asked: String,
        /// By the certificate.
        allowed: SpiffeId,
    },
    /// The control plane's own identity.
    #[error("nobody but the control plane is {0}")]
    Reserved(SpiffeId),
    /// The request itself.
    #[error(
        "the request for a certificate can't be read, or is not signed by its own key: expected PKCS #10 in PEM"
    )]
    Request,
    /// Too many attempts from there have failed.
    #[error("too many attempts from this address, or with this token, have failed; try again in {} s", after_ms.div_ceil(1_000))]
    RateLimited {
        /// How soon, in milliseconds.
        after_ms: u64,
    },
    /// The store was not read yet, so that who is believed is not known.
    #[error("the control plane has just started and has not read the store yet")]
    Starting,
    /// Whom the mesh believes, and what it has taken back, can't be told.
    #[error(
        "the Mesh resource's {field} can't be read, so that it is not known who is believed: push it anew"
    )]
    Mesh {
        /// Of its `spec`.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Whether a token was used or taken back can't be told.
    #[error("the store can't be asked whether the join token was used before")]
    Store(#[source] Box<WriteError>),
    /// The authority.
    #[error("the authority can't make the certificate")]
    Authority(#[source] IssueError),
}

impl Refusal {
    /// All words, for metrics.
    pub const CODES: [&'static str; 17] = [
        "no_proof",
        "token_unreadable",
        "token_untrusted",
        "token_expired",
        "token_used",
        "token_unknown",
        "token_revoked",
        "token_of_other_service",
        "certificate",
        "other_identity",
        "reserved",
        "request",
        "rate_limited",
        "starting",
        "mesh",
        "store",
        "authority",
    ];

    /// Its word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoProof => "no_proof",
            Self::TokenUnreadable(_) => "token_unreadable",
            Self::TokenUntrusted(_) => "token_untrusted",
            Self::TokenExpired(_) => "token_expired",
            Self::TokenUsed(_) => "token_used",
            Self::TokenUnknown(_) => "token_unknown",
            Self::TokenRevoked(_) => "token_revoked",
            Self::TokenOfOtherService { .. } => "token_of_other_service",
            Self::Certificate(_) => "certificate",
            Self::OtherIdentity { .. } => "other_identity",
            Self::Reserved(_) => "reserved",
            Self::Request => "request",
            Self::RateLimited { .. } => "rate_limited",
            Self::Starting => "starting",
            Self::Mesh { .. } => "mesh",
            Self::Store(_) => "store",
            Self::Authority(_) => "authority",
        }
    }

    /// What it is in HTTP.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoProof | Self::TokenUnreadable(_) | Self::TokenUntrusted(_) | Self::Certificate(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::TokenExpired(_)
            | Self::TokenUsed(_)
            | Self::TokenUnknown(_)
            | Self::TokenRevoked(_)
            | Self::TokenOfOtherService { .. }
            | Self::OtherIdentity { .. }
            | Self::Reserved(_) => StatusCode::FORBIDDEN,
            Self::Request => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Starting | Self::Mesh { .. } | Self::Store(_) | Self::Authority(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Whether the caller is to blame, so that the next attempts from there may be held off.
    pub fn is_the_callers(&self) -> bool {
        !self.status().is_server_error() && !matches!(self, Self::RateLimited { .. })
    }
}
