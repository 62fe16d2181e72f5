//! The HTTP client of the control plane's API.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Server;
use super::output::{self, Failed};
use crate::api::wire::Failure;
use crate::bootstrap::Token;
use crate::causes::with_causes;

/// How long a connection may take to open.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long an answer may take: longer than the server allows itself, so that its own words arrive.
const ANSWER_MAX: Duration = Duration::from_secs(40);

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// A control plane to talk to.
pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<Token>,
}

impl Client {
    pub(super) fn new(server: &Server) -> Result<Self, Failed> {
        check_url(&server.server)?;
        let token = server.token_file.as_deref().map(Token::read).transpose();
        let token = token.map_err(|error| Failed::problem("can't talk to the control plane", &error))?;
        // Never through a proxy of the environment: `http_proxy` there may well be the mesh itself.
        let mut builder =
            reqwest::Client::builder().connect_timeout(CONNECT_MAX).timeout(ANSWER_MAX).no_proxy();
        if let Some(path) = &server.ca_file {
            let what = format!("can't read certificates from {} (--ca-file)", path.display());
            let pem = std::fs::read(path).map_err(|error| Failed::problem(&what, &error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| Failed::problem(&what, &error))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| Failed::problem("can't make HTTP requests", &error))?;
        Ok(Self { http, server: server.server.trim_end_matches('/').to_owned(), token })
    }

    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Failed> {
        let mut url = url::Url::parse(&format!("{}{path}", self.server))
            .map_err(|error| Failed::usage(with_causes(&format!("--server {}", self.server), &error)))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.http.request(Method::GET, url)).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failed> {
        self.send(self.http.request(Method::POST, format!("{}{path}", self.server)).json(body)).await
    }

    async fn send<T: DeserializeOwned>(&self, mut request: RequestBuilder) -> Result<T, Failed> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                Failed::problem(&format!("the answer of {} isn't one of Outrigger's", self.server), &error)
            });
        }
        Err(self.failed(status, &body))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failed> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Failed::refused(format!(
                    "the answer of {} is over {ANSWER_BYTES_MAX} bytes",
                    self.server
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failed(&self, status: StatusCode, body: &[u8]) -> Failed {
        let Ok(failure) = serde_json::from_slice::<Failure>(body) else {
            let text = format!("{} answered {status}; is it a control plane (--server)?", self.server);
            return Failed::refused(text);
        };
        for problem in &failure.problems {
            output::remark(&problem.to_string());
        }
        Failed::refused(failure.message)
    }

    fn unreachable(&self, error: reqwest::Error) -> Failed {
        let what = format!("the control plane at {} doesn't answer (--server); is it running?", self.server);
        // The URL is in `what`; reqwest would say it again.
        Failed::unreachable(&what, &error.without_url())
    }
}

fn check_url(text: &str) -> Result<(), Failed> {
    let wrong = |why: &str| {
        Failed::usage(format!(
            "{text:?} (--server) is no URL of a control plane ({why}); expected for example http://127.0.0.1:15300"
        ))
    };
    let url = url::Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(_)) => Ok(()),
        (scheme, _) => Err(wrong(&format!("its scheme is {scheme}"))),
    }
}
