//! `explain`: what would happen to a request.

mod connection;
mod gateway;
mod inbound;
mod no_route;
mod origin;
mod settings;
pub(super) mod source;
mod steps;
mod subset;
mod telemetry;
mod verdict;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use outrigger_snapshot::head::{Authority, RequestHead};
use outrigger_snapshot::name::{DEFAULT_NAMESPACE, ServiceName};
use outrigger_store::reader::Wanted;

use self::source::{Explained, Source};
use super::output::{self, Exit, Failed};
use super::store::now_ms;
use super::times;

#[derive(Debug, Args)]
#[command(after_help = "Exits with 1 and the reason if the request would go nowhere.\n\nExamples:\n  \
                        outrigger explain GET http://cart/checkout -f mesh/\n  \
                        outrigger explain POST http://cart/ -H 'x-canary: yes' --store ./mesh --service web\n  \
                        outrigger explain GET http://cart/ --proxy 127.0.0.1:15200        what the proxy beside us would do\n  \
                        outrigger explain GET http://cart/ --store ./mesh --service web --at '10m ago'\n  \
                        outrigger explain tls://db:5432 --server-name db.example -f mesh/\n  \
                        outrigger explain tcp://0.0.0.0:5432 --service edge -f mesh/")]
pub(super) struct Explain {
    /// The request's method; of a connection that is not looked into, CONNECT, or nothing
    method: String,
    /// Its URL, as the application would call it; of a connection, tcp://SERVICE:PORT or tls://SERVICE:PORT, and at a gateway tcp://HOST:PORT or tls://HOST:PORT
    url: Option<String>,
    /// The host that the client of a TLS connection asks for [default: at a gateway, that of tls://HOST:PORT]
    #[arg(long, value_name = "HOST", env = "OUTRIGGER_SERVER_NAME")]
    server_name: Option<String>,
    /// One of its headers, as in `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER", env = "OUTRIGGER_HEADER")]
    headers: Vec<String>,
    /// By what is published in this store
    #[arg(long, value_name = "URL", env = "OUTRIGGER_STORE", required_unless_present_any = ["files", "proxy"])]
    store: Option<String>,
    /// By this release of the store
    #[arg(long, value_name = "N", conflicts_with = "at")]
    version: Option<u64>,
    /// By the release of the store that was in force then: 2026-05-04T10:00:00Z, or 10m ago
    #[arg(long, value_name = "TIME", env = "OUTRIGGER_AT")]
    at: Option<String>,
    /// By what the proxy with this admin address runs, whatever --store says
    #[arg(long, value_name = "ADDR", env = "OUTRIGGER_PROXY")]
    proxy: Option<String>,
    /// By these files instead, whatever --store says: a file, a folder, or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE", env = "OUTRIGGER_FILE")]
    files: Vec<std::path::PathBuf>,
    /// The service whose sidecar, or the gateway, that the request goes out through [default: the called service]
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_SERVICE")]
    service: Option<ServiceName>,
    /// A public key that is believed [default: those that the store offers]
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_TRUST_KEY", value_delimiter = ',')]
    trust_key: Vec<String>,
}

impl Explain {
    /// What is asked about: a connection needs no method.
    fn asked(&self) -> Result<(&str, &str), Failed> {
        match &self.url {
            Some(url) => Ok((&self.method, url)),
            None if is_connection(&self.method) => Ok(("CONNECT", &self.method)),
            None => Err(Failed::usage("say the method and the URL, like GET http://cart/")),
        }
    }

    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let (_, url) = self.asked()?;
        let head = self.head()?;
        let source = self.source()?;
        let read = source.read(self.service.as_ref(), called(&head)).await?;
        let Explained { origin, scope, content, written } = read;
        let proxied = matches!(source, Source::Proxy(_)).then_some(&scope);
        let service = self.service.as_ref().or(proxied);
        let namespace = service.map_or(DEFAULT_NAMESPACE, ServiceName::namespace);
        let (policy, facts, written) = (&content.policy, &content.facts, written.as_deref());
        let (authority, host) = (head.authority(), self.server_name.as_deref());
        let edge = policy.gateway.as_ref().zip(service);
        let edge = edge.map(|(gateway, name)| gateway::Edge { name, policy, gateway, facts, written });
        let request = || format!("{} {}{}", head.method(), authority.as_str(), head.path_and_query());
        let (what, asked, lines) = match edge {
            Some(edge) if is_connection(url) => {
                let named = Some(authority.host()).filter(|_| url.starts_with(TLS));
                let lines = gateway::connection_verdict(edge, authority.port(), host.or(named));
                ("connection", authority.as_str().to_owned(), lines)
            }
            Some(edge) => {
                let by_scheme = if url.starts_with("https://") { 443 } else { 80 };
                ("request", request(), gateway::verdict(edge, authority.port().unwrap_or(by_scheme), &head))
            }
            None if is_connection(url) => {
                let lines = connection::verdict(policy, facts, namespace, authority, host, written);
                ("connection", authority.as_str().to_owned(), lines)
            }
            None => ("request", request(), verdict::verdict(policy, facts, namespace, &head, written)),
        };
        let lines = lines.map_err(|error| Failed::problem("", &error))?;
        for (name, text) in [(what.to_owned(), asked), ("from".to_owned(), origin)].iter().chain(&lines) {
            output::line(&format!("{name:<12} {text}"));
        }
        Ok(Exit::Done)
    }

    fn head(&self) -> Result<RequestHead, Failed> {
        let (method, url) = self.asked()?;
        if is_connection(url) && method != "CONNECT" {
            return Err(Failed::usage(
                "of a connection (tcp://, tls://) there is nothing to know but that: say CONNECT",
            ));
        }
        let method: Method = method
            .parse()
            .map_err(|_| Failed::usage(format!("{method:?} is no method: expected GET, POST, ...")))?;
        let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let wrong = |why: String| Failed::usage(format!("{url:?} is no URL of a request: {why}"));
        let uri: Uri = whole.parse().map_err(|error| wrong(format!("{error}")))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host".to_owned()))?;
        let authority: Authority = authority.as_str().parse().map_err(|error| wrong(format!("{error}")))?;
        let path = uri.path_and_query().cloned().ok_or_else(|| wrong("it has no path".to_owned()))?;
        let mut headers = HeaderMap::new();
        for text in &self.headers {
            let (name, value) = parse_header(text)
                .ok_or_else(|| Failed::usage(format!("{text:?} is no header: expected 'Name: value'")))?;
            headers.append(name, value);
        }
        Ok(RequestHead::new(method, authority, path, headers))
    }

    /// By what it is explained.
    fn source(&self) -> Result<Source<'_>, Failed> {
        let wanted = match (self.version, &self.at) {
            (Some(n), _) => Some(Wanted::Number(n)),
            (None, Some(at)) => Some(Wanted::At(times::parse(at, now_ms())?)),
            (None, None) => None,
        };
        if wanted.is_some() && (self.store.is_none() || !self.files.is_empty()) {
            return Err(Failed::usage("--version and --at are about a store: --store URL, and no -f"));
        }
        match (&self.files[..], &self.proxy, &self.store) {
            ([], Some(address), _) if wanted.is_none() => Ok(Source::Proxy(address)),
            ([], _, Some(url)) => Ok(Source::Store { url, trust_key: &self.trust_key, wanted }),
            (files, ..) => Ok(Source::Files(files)),
        }
    }
}

const TLS: &str = "tls://";

/// Whether a URL is about a connection that is not looked into.
fn is_connection(url: &str) -> bool {
    url.starts_with("tcp://") || url.starts_with(TLS)
}

/// The service that a host names, if it is one of the names made from a service's own.
fn called(head: &RequestHead) -> Option<ServiceName> {
    let mut labels = head.authority().host().split('.');
    let name = labels.next()?;
    ServiceName::new(labels.next().unwrap_or(DEFAULT_NAMESPACE), name).ok()
}

fn parse_header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}
