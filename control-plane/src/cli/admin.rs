//! The HTTP client of a proxy's admin pages.

use std::time::Duration;

use clap::Args;
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

use super::output::Failed;
use crate::causes::with_causes;

/// How long a proxy may take to answer: it is beside us, or not there.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest line of a stream, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Which proxies.
#[derive(Debug, Clone, Args)]
pub(super) struct Proxies {
    /// A proxy's admin address (its --admin); several may be named
    #[arg(
        long = "proxy",
        value_name = "ADDR",
        env = "OUTRIGGER_PROXY",
        value_delimiter = ',',
        default_value = "127.0.0.1:15200"
    )]
    pub(super) addresses: Vec<String>,
}

/// One proxy to ask.
pub(super) struct Admin {
    http: reqwest::Client,
    address: String,
}

/// An answer that comes line by line.
pub(super) struct Stream {
    answer: Response,
    read: Vec<u8>,
}

impl Admin {
    /// Of the proxy at `address`: `HOST:PORT`, or a URL.
    pub(super) fn new(address: &str) -> Result<Self, Failed> {
        let http = reqwest::Client::builder().connect_timeout(ANSWER_MAX).no_proxy().build();
        let http = http.map_err(|error| Failed::problem("can't make HTTP requests", &error))?;
        let bare = address.trim_end_matches('/');
        let address = if bare.contains("://") { bare.to_owned() } else { format!("http://{bare}") };
        Ok(Self { http, address })
    }

    /// Where it is asked.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The JSON at `path`.
    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failed> {
        let body = self.page(path, query).await?;
        let foreign =
            |error| Failed::problem(&format!("{} is no admin page of a proxy", self.address), &error);
        serde_json::from_slice(&body).map_err(foreign)
    }

    /// What is at `path`.
    pub(super) async fn page(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, Failed> {
        let asked = async { self.read(self.ask(path, query).await?).await };
        match tokio::time::timeout(ANSWER_MAX, asked).await {
            Ok(read) => read,
            Err(late) => Err(Failed::unreachable(&self.away(), &late)),
        }
    }

    /// What comes line by line from `path`.
    pub(super) async fn stream(&self, path: &str, query: &[(&str, &str)]) -> Result<Stream, Failed> {
        match tokio::time::timeout(ANSWER_MAX, self.ask(path, query)).await {
            Ok(asked) => Ok(Stream { answer: asked?, read: Vec::new() }),
            Err(late) => Err(Failed::unreachable(&self.away(), &late)),
        }
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, Failed> {
        let url = format!("{}{path}", self.address);
        let wrong = |error| Failed::usage(with_causes(&format!("--proxy {url}"), &error));
        let mut url = url::Url::parse(&url).map_err(wrong)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let answer = self.http.get(url).send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let body = self.read(answer).await?;
            let said = String::from_utf8_lossy(&body);
            let said = said.trim_end();
            return Err(Failed::refused(format!("{} answered {status}: {said}", self.address)));
        }
        Ok(answer)
    }

    async fn read(&self, mut answer: Response) -> Result<Vec<u8>, Failed> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Failed::refused(format!("the answer of {} is too long", self.address)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn away(&self) -> String {
        format!("the proxy at {} doesn't answer (--proxy, its --admin); does it run?", self.address)
    }

    fn unreachable(&self, error: reqwest::Error) -> Failed {
        Failed::unreachable(&self.away(), &error.without_url())
    }
}

impl Stream {
    /// The next line that is not empty; `None`: there are no more, whyever.
    pub(super) async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.read.drain(..=end).collect();
                line.pop();
                if !line.is_empty() {
                    return Some(line);
                }
                continue;
            }
            if self.read.len() > LINE_BYTES_MAX {
                return None;
            }
            self.read.extend_from_slice(&self.answer.chunk().await.ok()??);
        }
    }
}
