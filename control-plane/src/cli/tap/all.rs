//! `tap --all`: which proxies report, and which of them can be watched from here.

use std::fmt;
use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Deserialize;

use super::super::admin::{Admin, Stream};
use super::super::client::Client;
use super::super::output::{self, Failed};
use super::super::status::read_folder;
use super::super::store::now_ms;
use super::{Server, Source, plain};
use crate::api::wire::Status;
use crate::reports::{Proxy, Report, ReportTable};

/// Proxies that are watched at a time.
const WATCHED_MAX: usize = 64;
/// Proxies that are asked whether they can be, all in all.
const ASKED_MAX: usize = 1_024;
/// The same at a time.
const ASKED_TOGETHER_MAX: usize = 32;
/// Those that cannot be watched and are named one by one; the others are counted.
const AWAY_NAMED_MAX: usize = 20;

/// Who a line is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// A proxy of `--proxy`.
    Address(String),
    /// One that reports: its service, and its `--node`.
    Node(String, String),
}

/// What a proxy's `/server_info` says of who it is.
#[derive(Debug, Deserialize)]
struct Informed {
    service: String,
    node: String,
}

impl Named {
    fn of(report: &Report) -> Self {
        Self::Node(report.service.clone(), report.node.clone())
    }

    /// A line of JSON, which says who it is from if that is more than an address.
    pub(super) fn beside(&self, line: &str) -> String {
        let (Self::Node(service, node), Some(rest)) = (self, line.trim_start().strip_prefix('{')) else {
            return line.to_owned();
        };
        let text = |text: &str| serde_json::Value::from(text).to_string();
        format!("{{\"outrigger.service\":{},\"outrigger.node\":{},{rest}", text(service), text(node))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => formatter.write_str(address),
            Self::Node(service, node) => formatter.write_str(&plain(&format!("{service} {node}"))),
        }
    }
}

/// The proxies that report, to a folder or to a control plane.
pub(super) async fn known(folder: Option<&Path>, server: &Server) -> Result<Vec<Proxy>, Failed> {
    let Some(folder) = folder else {
        return Ok(Client::new(server)?.fetch::<Status>("/v1/status", &[]).await?.proxies);
    };
    let mut table = ReportTable::default();
    for (report, at) in read_folder(folder)? {
        let named = Named::of(&report);
        if let Err(error) = table.record(report, at) {
            output::remark(&format!("left out {named}: {error}"));
        }
    }
    Ok(table.proxies(None, now_ms()))
}

/// Opens all that can be watched, and says of the others why not. If there is none, it is an error.
pub(super) async fn open(proxies: Vec<Proxy>, query: &[(&str, &str)]) -> Result<Vec<Source>, Failed> {
    let known = proxies.len();
    let (silent, reporting): (Vec<_>, Vec<_>) = proxies.into_iter().partition(|proxy| proxy.silent);
    let asked = reporting
        .iter()
        .take(ASKED_MAX)
        .map(|proxy| async { (Named::of(&proxy.report), reach(&proxy.report, query).await) });
    let mut asked = stream::iter(asked).buffered(ASKED_TOGETHER_MAX);
    let (mut sources, mut away) = (Vec::new(), Vec::new());
    while sources.len() < WATCHED_MAX {
        match asked.next().await {
            Some((name, Ok((stream, address)))) => {
                sources.push(Source { stream, address, name: Some(name) });
            }
            Some((name, Err(error))) => away.push((name, error)),
            None => break,
        }
    }
    drop(asked);
    let last = if sources.is_empty() { away.pop() } else { None };
    for (name, error) in away.iter().take(AWAY_NAMED_MAX) {
        output::remark(&format!("not watched: {name}: {error}"));
    }
    let unnamed = away.len().saturating_sub(AWAY_NAMED_MAX);
    let untold = reporting.len() - sources.len() - away.len() - usize::from(last.is_some());
    for (count, why) in [
        (unnamed, "they cannot be watched either".to_owned()),
        (untold, format!("at most {WATCHED_MAX} are, of the first {ASKED_MAX} that report")),
        (silent.len(), "they have not reported for a minute".to_owned()),
    ] {
        if count > 0 {
            output::remark(&format!("not watched: {count} more: {why}"));
        }
    }
    match last {
        Some((name, error)) => Err(error.of(&name.to_string())),
        None if sources.is_empty() => Err(Failed::refused(if known == 0 {
            "no proxy reports (outrigger-proxy --report)"
        } else {
            "every proxy that has reported is silent"
        })),
        None => Ok(sources),
    }
}

/// Watches the proxy that sent `report`, if its admin pages can be reached from here and are its own.
async fn reach(report: &Report, query: &[(&str, &str)]) -> Result<(Stream, String), Failed> {
    let at = report.admin.ok_or_else(|| Failed::refused("it does not report where its --admin is"))?;
    if at.ip().is_unspecified() {
        return Err(Failed::refused(format!("it reports no address of its machine, only --admin {at}")));
    }
    let admin = Admin::new(&at.to_string())?;
    let hint = if at.ip().is_loopback() {
        "; on loopback only its own machine reaches it (--admin, --expose-admin)"
    } else {
        ""
    };
    let informed: Informed = admin.fetch("/server_info", &[]).await.map_err(|error| error.with(hint))?;
    // An address may be anybody's by now, and one on loopback is somebody else's on every machine.
    if (&informed.service, &informed.node) != (&report.service, &report.node) {
        let Informed { service, node } = informed;
        let other = Named::Node(service, node);
        return Err(Failed::refused(format!("at {at} is {other}{hint}")));
    }
    Ok((admin.stream("/debug/tap", query).await?, at.to_string()))
}
