//! A line of an access log: flat JSON, named as in OpenTelemetry's conventions.

use std::borrow::Cow;
use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use outrigger_snapshot::head::{Authority, RequestHead};
use serde::Deserializer;
use serde::de::{Deserialize, IgnoredAny, MapAccess, Visitor};

const HEADER: &str = "http.request.header.";

/// What a line says of its request.
#[derive(Debug, Default)]
struct Fields<'a> {
    method: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
    port: Option<u16>,
    path: Option<Cow<'a, str>>,
    query: Option<Cow<'a, str>>,
    https: bool,
    inbound: bool,
    headers: Vec<(HeaderName, Values)>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

/// A port, as a number or in a text.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

/// A text that stays where it is, if it has no escapes.
#[derive(Debug, serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A request of the log.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) head: RequestHead,
    /// The port that it came to, as far as that is said.
    pub(super) port: u16,
    /// Names of the headers that the line tells of.
    pub(super) headers: Vec<HeaderName>,
}

/// Reads a line; `None`: it is of a call to the workload, which no route is for.
pub(super) fn read(line: &[u8]) -> Result<Option<Asked>, String> {
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if fields.inbound {
        return Ok(None);
    }
    let missing = |name: &str| format!("it has no {name}");
    let method = fields.method.ok_or_else(|| missing("http.request.method"))?;
    let host = fields.host.ok_or_else(|| missing("server.address, nor host"))?;
    let path = fields.path.ok_or_else(|| missing("url.path"))?;
    let method = method.parse().map_err(|_| format!("{method:?} is no method"))?;
    // An address of IPv6 stands alone in server.address, and in brackets in a URL.
    let bare = host.matches(':').count() > 1 && !host.starts_with('[');
    let host = if bare { Cow::Owned(format!("[{host}]")) } else { host };
    let named: Authority = host.parse().map_err(|error| format!("{host:?}: {error}"))?;
    let authority = match (named.port(), fields.port) {
        (None, Some(port)) => {
            format!("{host}:{port}").parse::<Authority>().map_err(|error| format!("{host:?}: {error}"))?
        }
        _ => named,
    };
    let target = match fields.query.filter(|query| !query.is_empty()) {
        Some(query) => Cow::Owned(format!("{path}?{}", query.trim_start_matches('?'))),
        None => path,
    };
    let target: PathAndQuery = target.parse().map_err(|_| format!("{target:?} is no path"))?;
    let mut headers = HeaderMap::new();
    for (name, values) in &fields.headers {
        let values = match values {
            Values::One(value) => std::slice::from_ref(value),
            Values::Several(values) => values,
        };
        for value in values {
            let value = HeaderValue::from_str(value).map_err(|_| format!("{name} can't have this value"))?;
            headers.append(name, value);
        }
    }
    let port = authority.port().unwrap_or(if fields.https { 443 } else { 80 });
    let told = fields.headers.into_iter().map(|(name, _)| name).collect();
    Ok(Some(Asked { head: RequestHead::new(method, authority, target, headers), port, headers: told }))
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(Text(name)) = map.next_key()? {
                    fields.take(&name, &mut map)?;
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Reads)
    }
}

impl<'de> Fields<'de> {
    fn take<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let mut text = || map.next_value::<Option<Text<'de>>>().map(|text| text.map(|Text(text)| text));
        match name {
            "http.request.method" => self.method = text()?,
            "server.address" => self.host = text()?.or(self.host.take()),
            "host" => {
                let host = text()?;
                self.host = self.host.take().or(host);
            }
            "url.path" => self.path = text()?,
            "url.query" => self.query = text()?,
            "url.scheme" => self.https = text()?.as_deref() == Some("https"),
            "outrigger.direction" => self.inbound = text()?.as_deref() == Some("inbound"),
            "server.port" => {
                self.port = map.next_value::<Option<Port>>()?.and_then(|port| match port {
                    Port::Number(port) => Some(port),
                    Port::Text(text) => text.parse().ok(),
                });
            }
            _ => match name.strip_prefix(HEADER).and_then(|name| name.replace('_', "-").parse().ok()) {
                Some(header) => {
                    let values = map.next_value::<Option<Values>>()?;
                    self.headers.extend(values.map(|values| (header, values)));
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_asked() {
        let line = br#"{"timestamp":1,"http.request.method":"POST","server.address":"cart","server.port":81,
            "url.path":"/a\/b","url.query":"q=1","http.request.header.x-canary":["yes","no"],"more":{"a":[1]}}"#;
        let asked = read(line).unwrap().unwrap();
        let canary: Vec<_> = asked.head.headers_named(&"x-canary".parse().unwrap()).collect();
        assert_eq!((asked.head.method().as_str(), asked.head.authority().as_str()), ("POST", "cart:81"));
        assert_eq!((asked.head.path(), asked.head.query(), asked.port), ("/a/b", Some("q=1"), 81));
        assert_eq!((canary.len(), asked.headers.len()), (2, 1));
    }

    #[test]
    fn hosts_come_in_several_forms() {
        for (fields, authority, port) in [
            (r#""host":"cart:82""#, "cart:82", 82),
            (r#""server.address":"cart","host":"other""#, "cart", 80),
            (r#""host":"other","server.address":"cart","url.scheme":"https""#, "cart", 443),
            (r#""server.address":"::1","server.port":"83""#, "[::1]:83", 83),
        ] {
            let line = format!(r#"{{"http.request.method":"GET","url.path":"/",{fields}}}"#);
            let asked = read(line.as_bytes()).unwrap().unwrap();
            assert_eq!((asked.head.authority().as_str(), asked.port), (authority, port), "{fields}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        for (line, why) in [
            ("{", "EOF"),
            ("[]", "an object"),
            ("{}", "it has no http.request.method"),
            (r#"{"http.request.method":"GET","url.path":"/"}"#, "it has no server.address"),
            (r#"{"http.request.method":"GET","host":"a b","url.path":"/"}"#, "a b"),
            (r#"{"http.request.method":"G T","host":"a","url.path":"/"}"#, "is no method"),
            (r#"{"http.request.method":7,"host":"a","url.path":"/"}"#, "invalid type"),
        ] {
            let error = read(line.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(read(br#"{"outrigger.direction":"inbound"}"#).unwrap().is_none());
    }
}
