//! Changes, and what would come of them.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::answer::ApiError;
use super::extract::Body;
use super::wire::{Difference, Failure, Noted, Push, Pushed, Rollback};
use crate::reports::Report;
use crate::server::Peer;
use crate::state::ControlPlane;

/// Changes resources: all of the push becomes one revision, or nothing does.
#[utoipa::path(
    post, path = "/v1/resources", request_body = Push,
    responses(
        (status = 200, body = Pushed, description = "durable in the store; published with the next interval"),
        (status = 409, body = Failure, description = "`base` isn't the newest revision, or a resource changed since it was read"),
        (status = 422, body = Failure, description = "the push has problems, or would shrink a scope"),
        (status = 503, body = Failure, description = "the store can't be written, or isn't the one it was"),
    )
)]
pub(super) async fn push(
    State(control_plane): State<Arc<ControlPlane>>,
    Body(push): Body<Push>,
) -> Result<Json<Pushed>, ApiError> {
    Ok(Json(control_plane.push(push).await?))
}

/// What a push would change. Nothing is changed.
#[utoipa::path(
    post, path = "/v1/diff", request_body = Push,
    responses(
        (status = 200, body = Difference, description = "it would be accepted, with what would change"),
        (status = 409, body = Failure, description = "`base` isn't the newest revision"),
        (status = 422, body = Failure, description = "the push has problems"),
        (status = 503, body = Failure, description = "the store can't be read"),
    )
)]
pub(super) async fn diff(
    State(control_plane): State<Arc<ControlPlane>>,
    Body(push): Body<Push>,
) -> Result<Json<Difference>, ApiError> {
    Ok(Json(control_plane.difference(push).await?))
}

/// Whether a push would be accepted: as `/v1/diff`, but a change that needs `allow_shrink` and lacks it is refused.
#[utoipa::path(
    post, path = "/v1/validate", request_body = Push,
    responses(
        (status = 200, body = Difference, description = "it would be accepted, with what would change"),
        (status = 409, body = Failure, description = "`base` isn't the newest revision"),
        (status = 422, body = Failure, description = "the push has problems, or would shrink a scope"),
        (status = 503, body = Failure, description = "the store can't be read"),
    )
)]
pub(super) async fn validate(
    State(control_plane): State<Arc<ControlPlane>>,
    Body(push): Body<Push>,
) -> Result<Json<Difference>, ApiError> {
    let allow_shrink = push.allow_shrink;
    let difference = control_plane.difference(push).await?;
    if difference.shrinks.is_empty() || allow_shrink {
        Ok(Json(difference))
    } else {
        Err(ApiError::Shrinks(difference.shrinks))
    }
}

/// Makes a new revision with the content of an older one.
#[utoipa::path(
    post, path = "/v1/rollback", request_body = Rollback,
    responses(
        (status = 200, body = Pushed, description = "the new revision, durable in the store"),
        (status = 404, body = Failure, description = "there is no such revision"),
        (status = 409, body = Failure, description = "`base` isn't the newest revision"),
        (status = 422, body = Failure, description = "the old content has problems today, or would shrink a scope"),
        (status = 503, body = Failure, description = "the store can't be written, or isn't the one it was"),
    )
)]
pub(super) async fn rollback(
    State(control_plane): State<Arc<ControlPlane>>,
    Body(rollback): Body<Rollback>,
) -> Result<Json<Pushed>, ApiError> {
    Ok(Json(control_plane.rollback(rollback).await?))
}

/// Takes what a proxy says of itself.
#[utoipa::path(
    post, path = "/v1/reports", request_body = Report,
    responses(
        (status = 200, body = Noted, description = "the report was kept"),
        (status = 422, body = Failure, description = "the report is unnamed or too long"),
    )
)]
pub(super) async fn report(
    State(control_plane): State<Arc<ControlPlane>>,
    peer: Option<Extension<Peer>>,
    Body(mut report): Body<Report>,
) -> Result<Json<Noted>, ApiError> {
    if let Some(Extension(peer)) = peer {
        report.came_from(peer.address.ip());
    }
    Ok(Json(control_plane.record(report)?))
}
