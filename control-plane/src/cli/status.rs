//! `status`: what is published, and which proxies run what.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use outrigger_snapshot::name::{DEFAULT_NAMESPACE, ServiceName};

use super::client::Client;
use super::output::{self, Exit, Failed, Format, span};
use super::read::ago;
use super::{Server, difference, published};
use crate::api::wire::{ReleaseSummary, RevisionSummary, Status as StatusBody};
use crate::reports::{Coverage, PROXIES_MAX, Proxy, Report, ReportTable};

/// Largest report that is read, in bytes: as large as a control plane takes.
const REPORT_BYTES_MAX: u64 = 64 << 10;

/// Reports that can't be read and are named one by one; the others are counted.
const STRAYS_NAMED_MAX: usize = 5;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outrigger status\n  outrigger status ./mesh                      with no control plane\n  \
                        outrigger status ./mesh --reports ./reports  the same, with what proxies wrote to --report ./reports"
)]
pub(super) struct Status {
    /// Read this store itself, rather than ask a control plane
    #[arg(value_name = "STORE")]
    store: Option<String>,
    /// A public key that is believed, of a STORE [default: those that the store offers]
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_TRUST_KEY", value_delimiter = ',')]
    trust_key: Vec<String>,
    /// Also count the reports in this folder (outrigger-proxy --report FOLDER)
    #[arg(long, value_name = "FOLDER", env = "OUTRIGGER_REPORTS")]
    reports: Option<PathBuf>,
    /// How to print it
    #[arg(long, short, value_enum, default_value = "table", env = "OUTRIGGER_OUTPUT")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

impl Status {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let mut status: StatusBody = match &self.store {
            Some(store) => of_store(store, &self.trust_key).await?,
            None => Client::new(&self.server)?.fetch("/v1/status", &[]).await?,
        };
        if let Some(folder) = &self.reports {
            count_in(&mut status, read_folder(folder)?);
        }
        match self.output {
            Format::Json => output::json(&status)?,
            Format::Yaml => {
                let value = serde_json::to_value(&status)
                    .map_err(|error| Failed::problem("can't print this", &error))?;
                output::line(difference::yaml(&value)?.trim_end());
            }
            Format::Table => print_status(&status),
        }
        Ok(Exit::Done)
    }
}

/// What can be told from a store alone.
async fn of_store(url: &str, trust_keys: &[String]) -> Result<StatusBody, Failed> {
    // Any scope does for what is the same for all.
    let scope = ServiceName::new(DEFAULT_NAMESPACE, DEFAULT_NAMESPACE)
        .map_err(|error| Failed::problem("", &error))?;
    let found = published::read(url, trust_keys, scope).await?;
    let release = &found.release;
    Ok(StatusBody {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: url.to_owned(),
        mesh: Some(release.mesh.to_string()),
        trust_key: None,
        ready: !release.rejected,
        trouble: None,
        revision: None,
        release: Some(ReleaseSummary {
            epoch: release.serial.epoch,
            release: release.serial.n,
            revision: release.revision,
            compiler: release.compiler,
            time_unix_ms: release.time_ms,
            rejected: release.rejected,
        }),
        heartbeat_age_ms: found.heartbeat.map(|heartbeat| now_ms().saturating_sub(heartbeat.time_ms)),
        coverage: Coverage::default(),
        proxies: Vec::new(),
        authority: None,
    })
}

/// Adds `reports`, each with when it was written. Of two of one proxy, the newer counts.
pub(super) fn count_in(status: &mut StatusBody, mut reports: Vec<(Report, u64)>) {
    let now = now_ms();
    let known = std::mem::take(&mut status.proxies).into_iter();
    reports.extend(known.map(|proxy| (proxy.report, now.saturating_sub(proxy.age_ms))));
    reports.sort_by_key(|(_, at)| *at);
    let mut table = ReportTable::default();
    let mut strays = Vec::new();
    for (report, at) in reports {
        let who = format!("{} {}", report.service, report.node);
        strays.extend(table.record(report, at).err().map(|error| format!("{who}: {error}")));
    }
    say_left_out(&strays);
    let newest = status.release.as_ref().map(|release| (release.epoch, release.release));
    status.proxies = table.proxies(newest, now);
    status.coverage = Coverage::of(&status.proxies);
}

/// The reports in a folder. What is none is named, and left out.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<(Report, u64)>, Failed> {
    let what = format!("can't read the reports in {} (--reports)", folder.display());
    let failed = |error| Failed::problem(&what, &error);
    let (mut reports, mut strays) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(failed)?.take(PROXIES_MAX) {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // With a dot in front: one that a proxy is writing.
        if name.starts_with('.') || !name.ends_with(".json") {
            continue;
        }
        match report(&path) {
            Ok(found) => reports.push(found),
            Err(why) => strays.push(format!("{}: {why}", path.display())),
        }
    }
    say_left_out(&strays);
    Ok(reports)
}

fn say_left_out(strays: &[String]) {
    for stray in strays.iter().take(STRAYS_NAMED_MAX) {
        output::remark(&format!("left out {stray}"));
    }
    if strays.len() > STRAYS_NAMED_MAX {
        output::remark(&format!("left out {} more", strays.len() - STRAYS_NAMED_MAX));
    }
}

/// A report, and when it was written, in milliseconds since 1970.
fn report(path: &Path) -> Result<(Report, u64), String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let written = file.metadata().and_then(|meta| meta.modified()).map_err(|error| error.to_string())?;
    file.take(REPORT_BYTES_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let report = serde_json::from_slice(&text).map_err(|error| format!("no report of a proxy: {error}"))?;
    Ok((report, unix_ms(written)))
}

fn now_ms() -> u64 {
    unix_ms(SystemTime::now())
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn print_status(status: &StatusBody) {
    let mut rows = vec![("store", status.store.clone())];
    rows.extend(status.mesh.iter().map(|mesh| ("mesh", mesh.clone())));
    rows.extend(status.trust_key.iter().map(|key| ("trust key", key.clone())));
    let revision = status.revision.as_ref().map(|revision| {
        let message =
            if revision.message.is_empty() { String::new() } else { format!(": {}", revision.message) };
        let RevisionSummary { revision: number, author, resources, .. } = revision;
        format!("{number}, {resources} resources, {} ago by {author}{message}", ago(revision.time_unix_ms))
    });
    if revision.is_some() || status.release.is_none() {
        let none = || "none yet: push one with `outrigger apply`".to_owned();
        rows.push(("revision", revision.unwrap_or_else(none)));
    }
    rows.extend(status.release.as_ref().map(|release| {
        let rejected = if release.rejected { ", rejected" } else { "" };
        let (number, of, compiler) = (release.release, release.revision, release.compiler);
        let age = ago(release.time_unix_ms);
        ("release", format!("{number}, of revision {of}, compiler {compiler}, {age} ago{rejected}"))
    }));
    rows.extend(status.heartbeat_age_ms.map(|age| ("heartbeat", format!("{} ago", span(age)))));
    rows.extend(status.trouble.iter().map(|trouble| ("TROUBLE", trouble.clone())));
    rows.push(("proxies", coverage(status)));
    for (name, text) in rows {
        output::line(&format!("{name:<10} {text}"));
    }
    if !status.proxies.is_empty() {
        output::line("");
        let header = ["SERVICE", "NODE", "RUNS", "SINCE", "SEEN", "REFUSALS", "VERSION", "STATE"];
        output::table(&header, status.proxies.iter().map(proxy_row));
    }
}

fn coverage(status: &StatusBody) -> String {
    let counts = &status.coverage;
    if counts.reporting + counts.silent == 0 {
        return "none reports here (outrigger-proxy --report)".to_owned();
    }
    let mut parts = vec![format!("{} reporting", counts.reporting), format!("{} current", counts.current)];
    for (count, what) in [
        (counts.behind, "behind"),
        (counts.without_plan, "without a plan"),
        (counts.refusing, "refusing"),
        (counts.quarantining, "with a quarantine"),
        (counts.silent, "silent"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.join(", ")
}

fn proxy_row(proxy: &Proxy) -> Vec<String> {
    let report = &proxy.report;
    let state = match proxy {
        Proxy { silent: true, .. } => "silent".to_owned(),
        Proxy { current: true, .. } if report.quarantined.is_empty() => "current".to_owned(),
        _ if !report.quarantined.is_empty() => "quarantine".to_owned(),
        _ => report.last_refusal.clone().map_or_else(|| "behind".to_owned(), |why| format!("refused: {why}")),
    };
    vec![
        report.service.clone(),
        report.node.clone(),
        report.running.as_ref().map_or_else(|| "-".to_owned(), |running| running.n.to_string()),
        ago(report.since_unix_ms),
        span(proxy.age_ms),
        report.refusals.to_string(),
        report.version.clone(),
        state,
    ]
}
