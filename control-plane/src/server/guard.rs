//! Who may use the API.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::wire::Failure;
use crate::bootstrap::Token;

/// Lets a request pass with the right bearer token or, where there is none, if it names a local host. The latter keeps a web
/// page that re-binds its own DNS name to 127.0.0.1 from speaking for the person at the browser.
pub(super) async fn admit(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    match &token {
        Some(token) if !bears(&request, token) => {
            let failure = Failure::new(
                "unauthorised",
                "expected `Authorization: Bearer TOKEN` with the API's token (outrigger: --token-file)",
            );
            let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
            (StatusCode::UNAUTHORIZED, challenge, axum::Json(failure)).into_response()
        }
        None if !names_local_host(&request) => foreign_host(),
        _ => next.run(request).await,
    }
}

/// Lets a request for the page pass: it holds no data, and asks for the token itself. Where there is none, by the same names as [`admit`].
pub(super) async fn admit_page(State(has_token): State<bool>, request: Request, next: Next) -> Response {
    if has_token || names_local_host(&request) { next.run(request).await } else { foreign_host() }
}

fn foreign_host() -> Response {
    let failure = Failure::new(
        "foreign_host",
        "without a token the API answers only to local names: call it as 127.0.0.1 or localhost",
    );
    (StatusCode::FORBIDDEN, axum::Json(failure)).into_response()
}

fn bears(request: &Request, token: &Token) -> bool {
    let value = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let scheme = value.and_then(|value| value.split_at_checked(b"Bearer ".len()));
    scheme
        .is_some_and(|(scheme, presented)| scheme.eq_ignore_ascii_case(b"Bearer ") && token.admits(presented))
}

fn names_local_host(request: &Request) -> bool {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str()).or(header);
    let Some(authority) = authority.and_then(|text| text.parse::<http::uri::Authority>().ok()) else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
