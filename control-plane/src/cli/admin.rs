//! The HTTP client of a proxy's admin pages.

use std::time::Duration;

use clap::Args;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;

use super::output::Failed;
use crate::causes::with_causes;

/// How long a proxy may take to answer: it is beside us, or not there.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

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

impl Admin {
    /// Of the proxy at `address`: `HOST:PORT`, or a URL.
    pub(super) fn new(address: &str) -> Result<Self, Failed> {
        let http = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().build();
        let http = http.map_err(|error| Failed::problem("can't make HTTP requests", &error))?;
        let bare = address.trim_end_matches('/');
        let address = if bare.contains("://") { bare.to_owned() } else { format!("http://{bare}") };
        Ok(Self { http, address })
    }

    /// The JSON at `path`.
    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failed> {
        let url = format!("{}{path}", self.address);
        let wrong = |error| Failed::usage(with_causes(&format!("--proxy {url}"), &error));
        let mut url = url::Url::parse(&url).map_err(wrong)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut answer = self.http.get(url).send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Failed::refused(format!("the answer of {} is too long", self.address)));
            }
            body.extend_from_slice(&chunk);
        }
        if status != StatusCode::OK {
            let said = String::from_utf8_lossy(&body);
            let said = said.trim_end();
            return Err(Failed::refused(format!("{} answered {status}: {said}", self.address)));
        }
        let foreign =
            |error| Failed::problem(&format!("{} is no admin page of a proxy", self.address), &error);
        serde_json::from_slice(&body).map_err(foreign)
    }

    fn unreachable(&self, error: reqwest::Error) -> Failed {
        let what =
            format!("the proxy at {} doesn't answer (--proxy, its --admin); does it run?", self.address);
        Failed::unreachable(&what, &error.without_url())
    }
}
