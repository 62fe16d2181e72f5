//! The one place where an error of the API gets its status.

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::wire::Failure;
use crate::causes::with_causes;
use crate::reports::ReportError;
use crate::state::{MeshError, TokenFailure};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// Body or query isn't what the operation takes.
    #[error("{text}")]
    Unreadable {
        /// What `axum` makes of it: 400, 413, 415 or 422.
        status: StatusCode,
        /// Why.
        text: String,
    },
    /// A change that would need `allow_shrink`.
    #[error("{}", shrink_text(.0))]
    Shrinks(Vec<String>),
    /// A report that isn't kept.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A join token that is not made or taken back.
    #[error(transparent)]
    Token(#[from] TokenFailure),
    /// Anything about the mesh.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, failure) = self.failure();
        if status.is_server_error() {
            tracing::warn!(code = failure.code, message = failure.message, "request failed");
        }
        (status, Json(failure)).into_response()
    }
}

impl ApiError {
    fn failure(&self) -> (StatusCode, Failure) {
        let text = with_causes("", self);
        match self {
            Self::Unreadable { status, .. } => (*status, Failure::new("unreadable", text)),
            Self::Shrinks(_) => (StatusCode::UNPROCESSABLE_ENTITY, Failure::new("shrinks", text)),
            Self::Report(_) => (StatusCode::UNPROCESSABLE_ENTITY, Failure::new("report", text)),
            Self::Token(TokenFailure::Mesh(error)) | Self::Mesh(error) => mesh_failure(error, text),
            Self::Token(TokenFailure::Unknown(_)) => {
                (StatusCode::NOT_FOUND, Failure::new("no_such_token", text))
            }
            Self::Token(TokenFailure::NoAuthority) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Failure::new("no_authority", text))
            }
            Self::Token(TokenFailure::Reserved(_) | TokenFailure::Lifetime) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Failure::new("token", text))
            }
            Self::Token(TokenFailure::Sign(_) | TokenFailure::Randomness(_)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, Failure::new("unsigned", text))
            }
        }
    }
}

fn mesh_failure(error: &MeshError, text: String) -> (StatusCode, Failure) {
    match error {
        MeshError::Refused(problems) => (StatusCode::UNPROCESSABLE_ENTITY, Failure::refused(problems)),
        MeshError::Shrinks(shrinks) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Failure::new("shrinks", shrink_text(shrinks)))
        }
        MeshError::Stale { newest, .. } => {
            (StatusCode::CONFLICT, Failure { newest: Some(*newest), ..Failure::new("stale_base", text) })
        }
        MeshError::Changed { newest, .. } => {
            (StatusCode::CONFLICT, Failure { newest: Some(*newest), ..Failure::new("stale_resource", text) })
        }
        MeshError::Busy => (StatusCode::CONFLICT, Failure::new("conflict", text)),
        MeshError::TooLong { .. } => (StatusCode::UNPROCESSABLE_ENTITY, Failure::new("too_long", text)),
        MeshError::NoRevision(_) | MeshError::NothingBefore => {
            (StatusCode::NOT_FOUND, Failure::new("no_such_revision", text))
        }
        MeshError::Store(_) | MeshError::Key(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, Failure::new("store", text))
        }
        MeshError::Outdated { .. } | MeshError::Rejected(_) | MeshError::Encode(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Failure::new("unpublishable", text))
        }
        MeshError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, Failure::new("stopping", text)),
    }
}

/// What would shrink, and how to allow it.
pub(super) fn shrink_text(shrinks: &[String]) -> String {
    format!("{}; nothing was applied. If this is meant, allow it (--allow-shrink)", shrinks.join("; "))
}

/// Answers in [`ANSWER_MAX`](super::ANSWER_MAX), if only with the news that there is no answer.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(super::ANSWER_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = "no answer in time; a push may or may not have been made: look at the history before trying again";
            (StatusCode::GATEWAY_TIMEOUT, Json(Failure::new("timeout", text))).into_response()
        }
    }
}

pub(super) async fn no_such_path() -> Response {
    let failure =
        Failure::new("no_such_path", "there is nothing at this path; /openapi.json lists what there is");
    (StatusCode::NOT_FOUND, Json(failure)).into_response()
}

pub(super) async fn no_such_method() -> Response {
    let failure = Failure::new("no_such_method", "this path takes another method; /openapi.json says which");
    (StatusCode::METHOD_NOT_ALLOWED, Json(failure)).into_response()
}
