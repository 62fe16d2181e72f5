//! The API's description for programs.

use axum::Json;
use utoipa::OpenApi;

use super::{read, tokens, wire, write};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Outrigger control plane",
        description = "Changes the configuration of a mesh and says what is published and run. Bodies are JSON. Where the \
                       server has a token, every request carries `Authorization: Bearer TOKEN`."
    ),
    paths(
        serve,
        read::resources,
        read::status,
        read::overview,
        read::history,
        write::push,
        write::diff,
        write::validate,
        write::rollback,
        write::report,
        tokens::list,
        tokens::create,
        tokens::revoke
    ),
    components(schemas(wire::ProblemBody))
)]
struct Document;

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "the OpenAPI document")))]
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
