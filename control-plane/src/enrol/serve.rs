//! `POST /v1/certificates`: a request in PEM (PKCS #10), answered by a certificate. Everything that is decided here is written to the log, with
//! the field `audit`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::StringRejection;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use outrigger_certs::authority::REQUEST_BYTES_MAX;
use rustls_pki_types::UnixTime;
use serde::Serialize;

use super::decide::{Asked, Granted};
use super::{Enrolment, Refusal};
use crate::api::wire::Failure;
use crate::causes::with_causes;
use crate::server::Peer;
use crate::state::ControlPlane;

/// How long an answer may take, from the end of the request's head on: the body has to come, and the store may be asked for a token's use.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a sidecar gets.
#[derive(Debug, Serialize)]
struct Certificate {
    /// In PEM, its own first.
    chain: String,
    /// By whom the mesh is believed, in PEM.
    roots: String,
}

type Shared = (Arc<ControlPlane>, Arc<Enrolment>);

/// All that sidecars may ask for.
pub(crate) fn router(control_plane: Arc<ControlPlane>, enrolment: Arc<Enrolment>) -> Router {
    Router::new()
        .route("/v1/certificates", post(certify))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .with_state((control_plane, enrolment))
}

async fn certify(
    State((control_plane, enrolment)): State<Shared>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    request: Result<String, StringRejection>,
) -> Response {
    // What is too long, or no text, is no request, as whoever proves who it is is told; and it is counted like everything else.
    let request = request.unwrap_or_default();
    let token = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let asked = Asked {
        token: token.map(|value| value.strip_prefix("Bearer ").unwrap_or_default().trim()),
        certificates: &peer.certificates,
        request: &request,
        from: peer.address.ip(),
    };
    match control_plane.enrol(&enrolment, &asked, UnixTime::now()).await {
        Ok(granted) => grant(granted, &peer),
        Err(refusal) => refuse(&refusal, &peer),
    }
}

/// Whoever takes too long is sent away, and everyone after one answer: a sidecar asks once in a day, and places are few.
async fn in_time(request: Request, next: Next) -> Response {
    let late = || {
        // A token that was used meanwhile is good for the same key once more.
        let failure = Failure::new("timeout", "no answer in time; try again");
        (StatusCode::GATEWAY_TIMEOUT, Json(failure)).into_response()
    };
    let answered = tokio::time::timeout(ANSWER_MAX, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| late());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn grant(granted: Granted, peer: &Peer) -> Response {
    let Granted { id, proof: (proof, by), facts, chain, roots } = granted;
    tracing::info!(
        audit = "certificate_issued",
        %id,
        serial = facts.serial,
        until_unix = facts.not_after_unix,
        proof,
        by,
        peer = %peer.address,
        "a certificate is made"
    );
    Json(Certificate { chain, roots }).into_response()
}

fn refuse(refusal: &Refusal, peer: &Peer) -> Response {
    let (code, message) = (refusal.code(), with_causes("", refusal));
    tracing::warn!(audit = "certificate_refused", reason = code, peer = %peer.address, "no certificate is made: {message}");
    let mut response = (refusal.status(), Json(Failure::new(code, message))).into_response();
    if let Refusal::RateLimited { after_ms } = refusal {
        let seconds = after_ms.div_ceil(1_000).to_string();
        if let Ok(value) = seconds.parse() {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}
