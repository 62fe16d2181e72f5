//! `tap`: requests as they end.

use std::cell::Cell;
use std::path::PathBuf;

use clap::Args;
use futures_util::future::try_join_all;
use serde::Deserialize;

use self::all::Named;
use super::admin::{Admin, Proxies, Stream};
use super::output::{self, Exit, Failed};
use super::{Server, times};

mod all;

#[derive(Debug, Args)]
#[command(
    after_help = "Ends with Ctrl-C, after --count requests, or when no proxy is left.\n\nExamples:\n  \
                        outrigger tap                                    what goes through the proxy beside us\n  \
                        outrigger tap --status 5xx --route web --proxy 10.0.0.7:15200 --proxy 10.0.0.8:15200\n  \
                        outrigger tap --all --reason breaker_open        of every proxy that reports and can be reached\n  \
                        outrigger tap --json --count 1000 > traffic.jsonl   requests for `outrigger diff --traffic`"
)]
pub(super) struct Tap {
    /// Requests of this route: NAME, NAMESPACE/NAME, or with #RULE
    #[arg(long, value_name = "ROUTE", env = "OUTRIGGER_TAP_ROUTE")]
    route: Option<String>,
    /// Requests that went to this service: NAME, NAMESPACE/NAME, or with :PORT
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_TAP_SERVICE")]
    service: Option<String>,
    /// Requests that were answered so: a status like 503, a class like 5xx, or none
    #[arg(long, value_name = "STATUS", env = "OUTRIGGER_TAP_STATUS")]
    status: Option<String>,
    /// Requests that failed for this reason (docs/ERRORS.md lists them)
    #[arg(long, value_name = "CODE", env = "OUTRIGGER_TAP_REASON")]
    reason: Option<String>,
    /// Requests of this method
    #[arg(long, value_name = "METHOD", env = "OUTRIGGER_TAP_METHOD")]
    method: Option<String>,
    /// Requests whose path begins so
    #[arg(long, value_name = "PATH", env = "OUTRIGGER_TAP_PATH")]
    path: Option<String>,
    /// Show at most so many in a second, of each proxy [default: 100]
    #[arg(long, value_name = "N", env = "OUTRIGGER_RATE")]
    rate: Option<u32>,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), env = "OUTRIGGER_COUNT")]
    count: Option<u64>,
    /// Print lines of JSON
    #[arg(long, env = "OUTRIGGER_JSON")]
    json: bool,
    #[command(flatten)]
    proxies: Proxies,
    /// Of every proxy that reports to the control plane, as far as its --admin can be reached from here
    #[arg(long, conflicts_with = "addresses", env = "OUTRIGGER_ALL")]
    all: bool,
    /// With --all: those that report to this folder (outrigger-proxy --report FOLDER), in place of those that the control plane knows
    #[arg(long, value_name = "FOLDER", env = "OUTRIGGER_REPORTS")]
    reports: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// One that is watched.
struct Source {
    stream: Stream,
    address: String,
    /// Who it is, where there may be several.
    name: Option<Named>,
}

/// A line of the stream.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Omitted { omitted: Causes },
    Request(Box<Summary>),
}

#[derive(Debug, Deserialize)]
struct Causes {
    rate: u64,
    slow: u64,
}

/// What a person is told of a request.
#[derive(Debug, Deserialize)]
struct Summary {
    at_unix_ms: u64,
    #[serde(rename = "http.response.status_code")]
    status: Option<u16>,
    #[serde(rename = "http.request.method")]
    method: String,
    #[serde(rename = "server.address")]
    host: String,
    #[serde(rename = "server.port", default)]
    port: Option<u16>,
    #[serde(rename = "url.path")]
    path: String,
    duration_ms: f64,
    #[serde(rename = "outrigger.direction")]
    direction: String,
    #[serde(rename = "outrigger.rule")]
    rule: String,
    #[serde(rename = "outrigger.cluster")]
    cluster: String,
    #[serde(rename = "outrigger.endpoint", default)]
    endpoint: Option<String>,
    #[serde(rename = "outrigger.tries")]
    tries: u64,
    #[serde(rename = "error.type", default)]
    reason: Option<String>,
    #[serde(rename = "outrigger.request_id")]
    id: String,
}

/// Enough was shown, or nobody reads it any more.
struct Enough;

impl Tap {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let rate = self.rate.map(|rate| rate.to_string());
        let named = [
            ("route", &self.route),
            ("service", &self.service),
            ("status", &self.status),
            ("reason", &self.reason),
            ("method", &self.method),
            ("path", &self.path),
            ("rate", &rate),
        ];
        let query: Vec<_> =
            named.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        let sources = if self.all {
            all::open(all::known(self.reports.as_deref(), &self.server).await?, &query).await?
        } else {
            self.named(&query).await?
        };
        let left = Cell::new(self.count.unwrap_or(u64::MAX));
        let shows = sources.into_iter().map(|source| self.show(source, &left));
        tokio::select! {
            _ = try_join_all(shows) => {}
            // Without a handler for it, the signal itself would be the end.
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(Exit::Done)
    }

    /// Those of `--proxy`: each has to answer.
    async fn named(&self, query: &[(&str, &str)]) -> Result<Vec<Source>, Failed> {
        let addresses = &self.proxies.addresses;
        let many = addresses.len() > 1;
        let open = async |address: &String| {
            let stream = Admin::new(address)?.stream("/debug/tap", query).await?;
            let name = many.then(|| Named::Address(address.clone()));
            Ok(Source { stream, address: address.clone(), name })
        };
        try_join_all(addresses.iter().map(open)).await
    }

    /// Shows the requests of one proxy until it ends.
    async fn show(&self, source: Source, left: &Cell<u64>) -> Result<(), Enough> {
        let Source { mut stream, address, name } = source;
        let from = name.as_ref().map(ToString::to_string);
        while let Some(line) = stream.line().await {
            let shown = match serde_json::from_slice(&line) {
                Err(_) => continue,
                Ok(Line::Omitted { omitted: Causes { rate, slow } }) => {
                    let at = from.as_ref().map(|from| format!("{from}: ")).unwrap_or_default();
                    output::remark(&format!(
                        "{at}left out: {rate} beyond --rate, {slow} that were not read in time"
                    ));
                    continue;
                }
                Ok(Line::Request(_)) if self.json => {
                    let line = String::from_utf8_lossy(&line);
                    output::offer(&name.as_ref().map_or(line.clone(), |name| name.beside(&line).into()))
                }
                Ok(Line::Request(summary)) => output::offer(&text(&summary, from.as_deref())),
            };
            left.set(left.get().saturating_sub(1));
            if !shown || left.get() == 0 {
                return Err(Enough);
            }
        }
        output::remark(&format!("the proxy at {address} has gone"));
        Ok(())
    }
}

fn text(summary: &Summary, from: Option<&str>) -> String {
    let Summary { at_unix_ms, method, host, path, duration_ms, direction, rule, cluster, id, .. } = summary;
    let from = from.map(|from| format!("{from}  ")).unwrap_or_default();
    let status = summary.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    let port = summary.port.map(|port| format!(":{port}")).unwrap_or_default();
    let time = times::clock(*at_unix_ms);
    let mut text =
        format!("{from}{time}  {status}  {method} {host}{port}{path}  {duration_ms:.1} ms  {direction}");
    for (what, said) in [("rule", rule), ("to", cluster)] {
        if !said.is_empty() {
            text.push_str(&format!("  {what} {said}"));
        }
    }
    if let Some(endpoint) = &summary.endpoint {
        text.push_str(&format!(" at {endpoint}"));
    }
    if summary.tries > 1 {
        text.push_str(&format!("  tries {}", summary.tries));
    }
    if let Some(reason) = &summary.reason {
        text.push_str(&format!("  {reason}  {id}"));
    }
    // A client chooses host and path.
    plain(&text)
}

/// Without what would move a cursor, which is not for a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}
