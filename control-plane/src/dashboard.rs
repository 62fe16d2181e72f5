//! The page at `/`: the mesh at a glance, for people. All of it is in the binary, and it loads nothing from elsewhere. It holds no data: what it
//! shows it asks of the API ([`Overview`](crate::overview::Overview)), as any other client.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Only what this server serves: no script in the page, no other host, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// One file of the page.
#[derive(Debug, Clone, Copy)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($kind:expr, $name:literal) => {
        Asset {
            path: concat!("/dashboard/", $name),
            kind: $kind,
            text: include_str!(concat!("dashboard/", $name)),
        }
    };
}

const ASSETS: [Asset; 11] = [
    Asset { path: "/", kind: HTML, text: include_str!("dashboard/page.html") },
    asset!(IMAGE, "icon.svg"),
    asset!(CSS, "style.css"),
    asset!(CSS, "graph.css"),
    asset!(SCRIPT, "main.js"),
    asset!(SCRIPT, "ask.js"),
    asset!(SCRIPT, "dom.js"),
    asset!(SCRIPT, "words.js"),
    asset!(SCRIPT, "layers.js"),
    asset!(SCRIPT, "graph.js"),
    asset!(SCRIPT, "tables.js"),
];

/// The page and its parts.
pub fn router() -> Router {
    ASSETS.into_iter().fold(Router::new(), |router, asset| router.route(asset.path, get(async move || asset)))
}

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        let headers: [(HeaderName, HeaderValue); 5] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // After an upgrade, page and scripts are of one version.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, self.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_nothing_that_is_not_served_here() {
        for asset in ASSETS {
            let quoted = asset.text.split(['"', '\'', '`']);
            for text in quoted.filter(|text| text.starts_with("/dashboard/") || text.starts_with("./")) {
                let path = text.replacen("./", "/dashboard/", 1);
                assert!(ASSETS.iter().any(|asset| asset.path == path), "{}: {text}", asset.path);
            }
            let elsewhere = asset.text.replace("http://www.w3.org/2000/svg", "");
            for scheme in ["http:", "https:", "src=\"//", "@import", "url("] {
                assert!(!elsewhere.contains(scheme), "{} has {scheme}", asset.path);
            }
        }
    }

    #[test]
    fn no_text_becomes_markup() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("]
            {
                assert!(!asset.text.contains(way), "{} uses {way}", asset.path);
            }
        }
        let page = ASSETS[0].text;
        for inline in [" style=", " onclick=", "<style", "javascript:"] {
            assert!(!page.contains(inline), "{inline} would need a weaker policy");
        }
    }
}
