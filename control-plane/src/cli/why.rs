//! `why`: the story of requests that have failed.

use clap::Args;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::admin::{Admin, Proxies};
use super::output::{self, Exit, Failed, span};
use super::store::now_ms;

#[derive(Debug, Args)]
#[command(after_help = "A proxy keeps the last 64 failures of each reason and worker.\n\nExamples:\n  \
                        outrigger why 7f3c2b1e-5a64-4d0e-9c1b-0a2f6f7d9e10   by x-request-id, which every answer that a proxy made carries\n  \
                        outrigger why --last                                 the last failure of the proxy beside us\n  \
                        outrigger why --reason breaker_open --count 5 --proxy 10.0.0.7:15200\n  \
                        outrigger why --route web")]
pub(super) struct Why {
    /// The request's x-request-id, or the id of its trace
    #[arg(value_name = "REQUEST-ID", conflicts_with_all = ["last", "reason", "route"])]
    id: Option<String>,
    /// The last failure, whatever it was
    #[arg(long, env = "OUTRIGGER_LAST")]
    last: bool,
    /// Failures for this reason (docs/ERRORS.md lists them)
    #[arg(long, value_name = "CODE", env = "OUTRIGGER_REASON")]
    reason: Option<String>,
    /// Failures of this route: NAME, NAMESPACE/NAME, or with #RULE
    #[arg(long, value_name = "ROUTE", env = "OUTRIGGER_ROUTE")]
    route: Option<String>,
    /// Show so many, the last first [default: 1, or 10 with --reason or --route]
    #[arg(long, value_name = "N", env = "OUTRIGGER_COUNT")]
    count: Option<u32>,
    /// Print them as JSON
    #[arg(long, env = "OUTRIGGER_JSON")]
    json: bool,
    #[command(flatten)]
    proxies: Proxies,
}

#[derive(Debug, Deserialize)]
struct Shown {
    found: usize,
    failures: Vec<Told>,
}

/// What a proxy tells of a failure. What this program does not know of is passed on in JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    id: String,
    at_unix_ms: u64,
    took_ms: f64,
    sentence: String,
    reason: String,
    fault: String,
    next: String,
    direction: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    identity: Option<String>,
    rule: String,
    cluster: String,
    release: u64,
    revision: u64,
    #[serde(default)]
    retry_budget_left: Option<u64>,
    #[serde(default)]
    deadline_left_ms: Option<u64>,
    tries: Vec<Try>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Try {
    address: String,
    at_ms: f64,
    reused: bool,
    hedge: bool,
    #[serde(default)]
    tcp_ms: Option<f64>,
    #[serde(default)]
    tls_ms: Option<f64>,
    #[serde(default)]
    sent_ms: Option<f64>,
    #[serde(default)]
    ended_ms: Option<f64>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    said: Option<String>,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    breaker: Option<String>,
    #[serde(default)]
    zone: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Why {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        if !self.last && self.id.is_none() && self.reason.is_none() && self.route.is_none() {
            return Err(Failed::usage("say which: REQUEST-ID, --last, --reason CODE or --route ROUTE"));
        }
        let many = self.reason.is_some() || self.route.is_some();
        let count = self.count.unwrap_or(if many { 10 } else { 1 });
        let text = count.to_string();
        let named = [("id", &self.id), ("reason", &self.reason), ("route", &self.route)];
        let named = named.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let query: Vec<_> = named.chain([("count", text.as_str())]).collect();
        let (found, mut failures) = self.ask(&query).await?;
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.at_unix_ms));
        failures.truncate(count as usize);
        if failures.is_empty() {
            return Err(Failed::refused(self.nothing()));
        }
        if self.json {
            output::json(&failures)?;
            return Ok(Exit::Done);
        }
        for (index, failure) in failures.iter().enumerate() {
            if index > 0 {
                output::line("");
            }
            print(failure);
        }
        if found > failures.len() {
            output::remark(&format!("\n{} more like this; --count shows them", found - failures.len()));
        }
        Ok(Exit::Done)
    }

    /// Asks all proxies at once, and names those that say nothing; fails if none says anything. How many failures they know of, and those that
    /// they tell of.
    async fn ask(&self, query: &[(&str, &str)]) -> Result<(usize, Vec<Told>), Failed> {
        let asked = self.proxies.addresses.iter().map(|address| async move {
            Admin::new(address)?.fetch::<Shown>("/debug/failures", query).await
        });
        let (mut shown, mut away) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                Ok(told) => shown.push(told),
                Err(failed) => away.push(failed),
            }
        }
        if shown.is_empty()
            && let Some(last) = away.pop()
        {
            away.iter().for_each(|failed| output::remark(&failed.to_string()));
            return Err(last);
        }
        away.iter().for_each(|failed| output::remark(&format!("not asked: {failed}")));
        let found = shown.iter().map(|shown| shown.found).sum();
        Ok((found, shown.into_iter().flat_map(|shown| shown.failures).collect()))
    }

    /// Nothing was found; what that may mean.
    fn nothing(&self) -> String {
        let at = self.proxies.addresses.join(", ");
        match &self.id {
            Some(id) => format!(
                "{at} knows of no failure of {id}: it went through another proxy (--proxy), ended well here, or is too long ago"
            ),
            None => format!("{at} knows of no such failure"),
        }
    }
}

fn print(failure: &Told) {
    let ago = span(now_ms().saturating_sub(failure.at_unix_ms));
    output::line(&failure.sentence);
    let mut lines = vec![
        (
            "request",
            format!("{} ({}, {ago} ago, took {:.1} ms)", failure.id, failure.direction, failure.took_ms),
        ),
        ("reason", format!("{}; whose fault: {}", failure.reason, failure.fault)),
    ];
    if let Some(source) = &failure.source {
        let who = failure.identity.as_ref().map_or_else(String::new, |identity| format!(", {identity}"));
        lines.push(("from", format!("{source}{who}")));
    }
    if failure.release > 0 {
        let way = match (failure.rule.as_str(), failure.cluster.as_str()) {
            ("", _) => "no rule".to_owned(),
            (rule, "") => rule.to_owned(),
            (rule, cluster) => format!("{rule} to {cluster}"),
        };
        lines.push((
            "route",
            format!("{way}, by release {} (revision {})", failure.release, failure.revision),
        ));
    }
    for (index, attempt) in failure.tries.iter().enumerate() {
        let name = if index == 0 { "tries" } else { "" };
        lines.push((name, describe(index + 1, attempt)));
    }
    let left = failure.deadline_left_ms.map(|left| format!("{left} ms of its time"));
    let budget = failure.retry_budget_left.map(|left| format!("{left} retries in the cluster's budget"));
    let left: Vec<_> = left.into_iter().chain(budget).collect();
    if !left.is_empty() {
        lines.push(("left", left.join(", ")));
    }
    lines.push(("next", failure.next.clone()));
    for (name, text) in lines {
        output::line(&format!("  {name:<8} {text}"));
    }
}

/// A try in one line.
fn describe(number: usize, attempt: &Try) -> String {
    let mut parts = Vec::new();
    if attempt.hedge {
        parts.push("beside the one before".to_owned());
    }
    let since = |at: f64| at - attempt.at_ms;
    match (attempt.reused, attempt.sent_ms) {
        (true, _) => parts.push("on a connection that was there".to_owned()),
        (false, Some(sent)) => {
            let tls = attempt.tls_ms.map(|tls| format!(", TLS after {:.1} ms", since(tls)));
            parts.push(format!("connected after {:.1} ms{}", since(sent), tls.unwrap_or_default()));
        }
        (false, None) => match attempt.tcp_ms {
            Some(tcp) => parts.push(format!("TCP after {:.1} ms and no further", since(tcp))),
            None => parts.push("never connected".to_owned()),
        },
    }
    let ended = attempt.ended_ms.map(|ended| format!("after {:.1} ms", since(ended)));
    match (attempt.status, ended, &attempt.said) {
        (Some(status), Some(ended), _) => parts.push(format!("{status} {ended}")),
        (None, Some(ended), Some(said)) => parts.push(format!("{said}, {ended}")),
        (_, None, _) => parts.push("no answer when the request was over".to_owned()),
        (None, Some(ended), None) => parts.push(ended),
    }
    if let (Some(endpoint), Some(breaker)) = (&attempt.endpoint, &attempt.breaker) {
        parts.push(format!("endpoint {endpoint}, breaker {breaker}"));
    }
    let zone = attempt.zone.as_ref().map_or_else(String::new, |zone| format!(" in {zone}"));
    format!("{number}. {}{zone} at {:.1} ms: {}", attempt.address, attempt.at_ms, parts.join("; "))
}
