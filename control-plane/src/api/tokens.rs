//! Join tokens of sidecars.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::answer::ApiError;
use super::extract::Body;
use super::wire::{CreateToken, CreatedToken, Failure, RevokeToken, TokenSummary, Tokens};
use crate::state::ControlPlane;

/// Makes a join token.
#[utoipa::path(
    post, path = "/v1/join-tokens", request_body = CreateToken,
    responses(
        (status = 200, body = CreatedToken, description = "the token, which is shown this once"),
        (status = 422, body = Failure, description = "no authority here, or a service or lifetime that no token can have"),
        (status = 503, body = Failure, description = "the store can't be written"),
    )
)]
pub(super) async fn create(
    State(control_plane): State<Arc<ControlPlane>>,
    Body(wanted): Body<CreateToken>,
) -> Result<Json<CreatedToken>, ApiError> {
    let lifetime = Duration::from_secs(wanted.lifetime_s);
    let (token, text) = control_plane.create_token(wanted.service, lifetime, wanted.reusable).await?;
    Ok(Json(CreatedToken {
        id: token.id,
        service: token.service,
        expires_unix: token.expires_unix,
        reusable: token.reusable,
        token: text,
    }))
}

/// The join tokens that the store knows, without what opens anything.
#[utoipa::path(
    get, path = "/v1/join-tokens",
    responses(
        (status = 200, body = Tokens, description = "the youngest first, at most 1,000, and how many older ones there are"),
        (status = 503, body = Failure, description = "the store can't be read"),
    )
)]
pub(super) async fn list(State(control_plane): State<Arc<ControlPlane>>) -> Result<Json<Tokens>, ApiError> {
    let (tokens, older) = control_plane.tokens().await?;
    let tokens = tokens.into_iter().filter_map(|(id, known)| {
        let issued = known.issued?;
        Some(TokenSummary {
            id,
            service: issued.service,
            created_unix_ms: issued.time_ms,
            expires_unix: issued.expires_unix,
            reusable: issued.reusable,
            used_unix_ms: known.used.map(|used| used.time_ms),
            revoked: known.revoked,
        })
    });
    Ok(Json(Tokens { tokens: tokens.collect(), older: older as u64 }))
}

/// Takes a join token back.
#[utoipa::path(
    post, path = "/v1/join-tokens/revoke", request_body = RevokeToken,
    responses(
        (status = 200, body = RevokeToken, description = "nobody can join with it from now on"),
        (status = 404, body = Failure, description = "there is no such token"),
        (status = 503, body = Failure, description = "the store can't be written"),
    )
)]
pub(super) async fn revoke(
    State(control_plane): State<Arc<ControlPlane>>,
    Body(wanted): Body<RevokeToken>,
) -> Result<Json<RevokeToken>, ApiError> {
    control_plane.revoke_token(wanted.id).await?;
    Ok(Json(wanted))
}
