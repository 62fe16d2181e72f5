//! What Prometheus and orchestrators ask for.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::state::ControlPlane;

/// `/metrics`, `/ready` and `/live`.
pub(super) fn router(control_plane: Arc<ControlPlane>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route("/live", get(live))
        .with_state(control_plane)
}

async fn metrics(State(control_plane): State<Arc<ControlPlane>>) -> Response {
    let text = control_plane.render_metrics();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// 200 once the store was read and what is to be published is; the reason otherwise.
async fn ready(State(control_plane): State<Arc<ControlPlane>>) -> Response {
    match control_plane.trouble() {
        None => "ready\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

/// 200 while the loop turns, whether or not it succeeds: a restart wouldn't mend a store.
async fn live(State(control_plane): State<Arc<ControlPlane>>) -> Response {
    match control_plane.is_stuck() {
        false => "live\n".into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, "the publishing loop hangs\n").into_response(),
    }
}
