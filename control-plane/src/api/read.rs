//! What is, and what was.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::ApiError;
use super::extract::Asked;
use super::wire::{Failure, History, Resources, Status};
use crate::overview::Overview;
use crate::state::ControlPlane;

/// Most revisions that `/v1/history` returns at once.
const HISTORY_MAX: usize = 500;

/// Revisions that `/v1/history` returns if it isn't told how many.
const HISTORY_DEFAULT: usize = 20;

/// Which resources.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only this kind.
    kind: Option<String>,
    /// Only this namespace.
    namespace: Option<String>,
    /// Only this name.
    name: Option<String>,
    /// Of this revision instead of the newest.
    revision: Option<u64>,
}

/// How many revisions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct HowMany {
    /// At most this many.
    limit: Option<usize>,
}

/// Resources of a revision.
#[utoipa::path(
    get, path = "/v1/resources", params(Which),
    responses(
        (status = 200, body = Resources, description = "the resources"),
        (status = 404, body = Failure, description = "there is no such revision"),
        (status = 503, body = Failure, description = "the store can't be read"),
    )
)]
pub(super) async fn resources(
    State(control_plane): State<Arc<ControlPlane>>,
    Asked(which): Asked<Which>,
) -> Result<Json<Resources>, ApiError> {
    let mut found = control_plane.resources(which.revision).await?;
    let differs = |wanted: &Option<String>, value: Option<&serde_json::Value>| {
        wanted.as_deref().is_some_and(|wanted| value.and_then(|value| value.as_str()) != Some(wanted))
    };
    found.resources.retain(|resource| {
        !differs(&which.kind, resource.pointer("/kind"))
            && !differs(&which.namespace, resource.pointer("/metadata/namespace"))
            && !differs(&which.name, resource.pointer("/metadata/name"))
    });
    Ok(Json(found))
}

/// What is published, and what the proxies run.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status, description = "as far as this replica knows")))]
pub(super) async fn status(State(control_plane): State<Arc<ControlPlane>>) -> Json<Status> {
    Json(control_plane.status())
}

/// The mesh at a glance: what the page at `/` shows.
#[utoipa::path(
    get, path = "/v1/overview",
    responses(
        (status = 200, body = Overview, description = "as far as this replica knows"),
        (status = 503, body = Failure, description = "the control plane is stopping"),
    )
)]
pub(super) async fn overview(
    State(control_plane): State<Arc<ControlPlane>>,
) -> Result<Json<Overview>, ApiError> {
    Ok(Json(control_plane.overview().await?))
}

/// The newest revisions, newest first.
#[utoipa::path(
    get, path = "/v1/history", params(HowMany),
    responses(
        (status = 200, body = History, description = "revisions without their resources"),
        (status = 503, body = Failure, description = "the store can't be read"),
    )
)]
pub(super) async fn history(
    State(control_plane): State<Arc<ControlPlane>>,
    Asked(how_many): Asked<HowMany>,
) -> Result<Json<History>, ApiError> {
    let limit = how_many.limit.unwrap_or(HISTORY_DEFAULT).min(HISTORY_MAX);
    Ok(Json(control_plane.history(limit).await?))
}
