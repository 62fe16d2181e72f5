//! The HTTP/JSON API. `docs/API.md` describes it to people, `/openapi.json` to programs.

mod answer;
mod extract;
mod openapi;
#[expect(unused_qualifications, reason = "`utoipa::path` repeats the path of what it is given")]
mod read;
mod tokens;
pub mod wire;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};

use crate::state::ControlPlane;

pub use openapi::document;

/// Largest push, in bytes: as much as all files of `outrigger apply` may hold, with room for JSON's escapes.
pub const PUSH_BYTES_MAX: usize = 24 << 20;

/// Largest report, in bytes.
pub const REPORT_BYTES_MAX: usize = 64 << 10;

/// How long an answer may take.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);

/// One operation of the API.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: &'static str,
    serve: MethodRouter<Arc<ControlPlane>>,
}

/// All operations. The router and the test that compares it with the OpenAPI document are made from this one list.
pub fn routes() -> Vec<Route> {
    let route = |method, path, serve| Route { method, path, serve };
    let report = post(write::report).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX));
    vec![
        route(Method::GET, "/openapi.json", get(openapi::serve)),
        route(Method::GET, "/v1/resources", get(read::resources)),
        route(Method::POST, "/v1/resources", post(write::push)),
        route(Method::POST, "/v1/diff", post(write::diff)),
        route(Method::POST, "/v1/validate", post(write::validate)),
        route(Method::POST, "/v1/rollback", post(write::rollback)),
        route(Method::GET, "/v1/status", get(read::status)),
        route(Method::GET, "/v1/overview", get(read::overview)),
        route(Method::GET, "/v1/history", get(read::history)),
        route(Method::POST, "/v1/reports", report),
        route(Method::GET, "/v1/join-tokens", get(tokens::list)),
        route(Method::POST, "/v1/join-tokens", post(tokens::create)),
        route(Method::POST, "/v1/join-tokens/revoke", post(tokens::revoke)),
    ]
}

/// The API of `control_plane`, not yet guarded against strangers.
pub fn router(control_plane: Arc<ControlPlane>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.serve);
    }
    router
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(middleware::from_fn(answer::in_time))
        .layer(DefaultBodyLimit::max(PUSH_BYTES_MAX))
        .with_state(control_plane)
}

impl std::fmt::Debug for Route {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}
