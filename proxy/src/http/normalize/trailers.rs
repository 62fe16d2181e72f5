//! What may stand in trailers, which nobody routes, checks or signs: a peer may merge them into the head, and then they must not say what
//! was taken out of that.

use http::header::{HeaderMap, HeaderName};

use super::{OWN_FIELDS, tells_who_asked};

/// Takes out of trailers what frames, routes, conditions or authenticates a message, belongs to one connection (RFC 9110 §6.5.1, RFC 9113
/// §8.2.2), or is for proxies alone to say.
pub fn normalize_trailers(trailers: &mut HeaderMap) {
    // No list is made where all may stay.
    let names: Vec<HeaderName> = trailers.keys().filter(|name| is_of_heads(name.as_str())).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

/// Whether a field has no business in trailers, be it spelled with `_` in place of `-`.
fn is_of_heads(name: &str) -> bool {
    if name.contains('_') {
        return is_of_heads(&name.replace('_', "-"));
    }
    name.starts_with(OWN_FIELDS)
        || tells_who_asked(name)
        || matches!(
            name,
            // Framing, and what the content is.
            "content-encoding" | "content-length" | "content-range" | "content-type" | "trailer" | "transfer-encoding"
            // Routing, controls and conditions.
            | "cache-control" | "expect" | "host" | "if-match" | "if-modified-since" | "if-none-match" | "if-range"
            | "if-unmodified-since" | "location" | "max-forwards" | "pragma" | "range" | "vary"
            // Who is there.
            | "authorization" | "cookie" | "proxy-authenticate" | "proxy-authorization" | "set-cookie" | "www-authenticate"
            // The connection.
            | "connection" | "http2-settings" | "keep-alive" | "proxy-connection" | "te" | "upgrade"
        )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(names: &[&'static str]) -> Vec<String> {
        let mut trailers = HeaderMap::new();
        for name in names {
            trailers.append(*name, HeaderValue::from_static("1"));
            trailers.append(*name, HeaderValue::from_static("2"));
        }
        normalize_trailers(&mut trailers);
        trailers.keys().map(ToString::to_string).collect()
    }

    /// RFC 9110 §6.5.1: "Many fields cannot be processed outside the header section", and such a field "MUST NOT" be merged into it.
    #[test]
    fn trailers_say_nothing_about_framing_routing_or_the_connection() {
        let names = [
            "content-length",
            "transfer-encoding",
            "host",
            "connection",
            "set-cookie",
            "te",
            "keep-alive",
            "authorization",
            "if-none-match",
        ];
        assert_eq!(left(&names), [""; 0]);
    }

    #[test]
    fn trailers_do_not_say_what_heads_may_not() {
        let names = [
            "x-forwarded-client-cert",
            "x-forwarded-for",
            "forwarded",
            "outrigger-priority",
            "x_forwarded_for",
            "x-forwarded_client_cert",
            "outrigger_deadline-ms",
            "content_length",
        ];
        assert_eq!(left(&names), [""; 0]);
    }

    #[test]
    fn what_calls_end_with_stays() {
        let names = [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "grpc-retry-pushback-ms",
            "x-sum",
            "my_own",
        ];
        assert_eq!(left(&names), names);
    }
}
