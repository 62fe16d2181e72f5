//! Tells people what runs here, where `--report` says: a folder, or a control plane that collects.
//!
//! `app` spawns [`Reporter::run`] on the control thread. Nothing depends on a report: one that fails is counted, and the next
//! one says it all again.

mod calls;
mod failure;
mod post;
pub(crate) mod tls;
mod traffic;

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use outrigger_snapshot::name::ServiceName;
use serde::Serialize;

pub use calls::{CALLED_FOR, CALLS_MAX, Calls};
pub use failure::{FAILURES_MAX, FailureView, latest};
pub use post::PostError;
pub(crate) use post::answered;
pub use tls::TlsError;
pub(crate) use tls::{system_file, system_roots};
pub use traffic::{ClusterTraffic, TRAFFIC_MAX, Traffic, TrafficView, WINDOW};

use crate::certificates::{Certificates, ShownView};
use crate::clock;
use crate::config::ReportTarget;
use crate::identity::{IdentityView, Keeper};
use crate::source::{Status, View, chain};
use crate::telemetry::exposition::Exposition;

/// Quarantined digests in one report: what a control plane takes.
pub const QUARANTINED_MAX: usize = 64;
/// Longest text in a report, in bytes: what a control plane takes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Certificates in one report: what a control plane takes.
pub const CERTIFICATES_MAX: usize = 80;
/// Largest report, in bytes: what a control plane takes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Shortest time between two reports, however often the store is read.
pub const PERIOD_MIN: Duration = Duration::from_secs(1);
/// Share of the period by which a report comes earlier or later.
const JITTER: f64 = 0.2;

/// What one proxy says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its `--node`.
    pub node: String,
    /// The service beside which it stands.
    pub service: String,
    /// The version of the program.
    pub version: &'static str,
    /// Where its admin pages are, as its listener is bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// What it runs.
    pub running: Option<RunningRelease>,
    /// Since when, in milliseconds since 1970; 0 if it runs nothing.
    pub since_unix_ms: u64,
    /// Snapshots refused since it started.
    pub refusals: u64,
    /// Why the last one was, if nothing newer runs.
    pub last_refusal: Option<String>,
    /// Digests that it does not run any more.
    pub quarantined: Vec<String>,
    /// Clusters that it has called within [`CALLED_FOR`].
    pub calls: Vec<String>,
    /// What came of its requests lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficView>,
    /// The last requests that it refused or gave up on, the newest first, at most [`FAILURES_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailureView>,
    /// Who it is to others, if it was given an identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityView>,
    /// What it shows to those outside the mesh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<ShownView>,
}

/// The release that a proxy runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunningRelease {
    /// Its epoch.
    pub epoch: u64,
    /// Its number.
    pub n: u64,
    /// Digest of the policy.
    pub policy: String,
    /// Digest of the facts.
    pub facts: String,
}

/// Sends reports.
#[derive(Debug)]
pub struct Reporter {
    target: ReportTarget,
    node: String,
    service: ServiceName,
    admin: Option<SocketAddr>,
    period: Duration,
    status: Arc<Status>,
    calls: Calls,
    traffic: Option<Traffic>,
    failures: Option<Latest>,
    certificates: Option<(Rc<Keeper>, Rc<Certificates>)>,
    counts: Arc<Counts>,
}

/// How reports went.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
}

/// Why a report did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It can't be written as JSON.
    #[error("the report can't be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The folder does not take it.
    #[error("the folder does not take the report")]
    Folder(#[from] std::io::Error),
    /// The control plane does not take it.
    #[error("the control plane did not take the report")]
    Post(#[from] PostError),
}

impl Report {
    /// The report of the proxy `node` beside `service`.
    pub fn new(node: &str, service: &ServiceName, view: &View, calls: Vec<String>) -> Self {
        let running = view.running.as_ref();
        Self {
            node: node.to_owned(),
            service: service.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            admin: None,
            running: running.map(|running| RunningRelease {
                epoch: running.taken.epoch,
                n: running.taken.n,
                policy: running.policy.digest.to_string(),
                facts: running.facts.digest.to_string(),
            }),
            since_unix_ms: running.map_or(0, |running| running.since_ms),
            refusals: view.refusals.values().sum(),
            last_refusal: view.last_refusal.as_deref().map(cut),
            quarantined: view
                .quarantined
                .iter()
                .rev()
                .take(QUARANTINED_MAX)
                .map(|entry| entry.digest.to_string())
                .collect(),
            calls,
            traffic: None,
            failures: Vec::new(),
            identity: None,
            shown: Vec::new(),
        }
    }

    /// With these failures, the newest first, as far as they are taken.
    #[must_use]
    pub fn with_failures(mut self, newest_first: impl IntoIterator<Item = FailureView>) -> Self {
        let taken = newest_first.into_iter().take(FAILURES_MAX);
        self.failures = taken.map(FailureView::bounded).collect();
        self
    }

    /// As JSON. What the mesh needs of a report is small; if what explains it makes it too large to be taken, that is left out.
    fn encode(mut self) -> Result<Vec<u8>, serde_json::Error> {
        let whole = serde_json::to_vec(&self)?;
        if whole.len() <= BODY_BYTES_MAX {
            return Ok(whole);
        }
        self.failures.clear();
        if let Some(traffic) = &mut self.traffic {
            traffic.left_out += traffic.clusters.len();
            traffic.clusters.clear();
        }
        serde_json::to_vec(&self)
    }
}

impl Reporter {
    /// Reports to `target` about once in a `period`, which is that of the source.
    pub fn new(
        target: ReportTarget,
        node: &str,
        service: &ServiceName,
        period: Duration,
        status: Arc<Status>,
        calls: Calls,
    ) -> Self {
        let counts = Arc::default();
        let period = period.max(PERIOD_MIN);
        let (node, service) = (node.to_owned(), service.clone());
        Self {
            target,
            node,
            service,
            admin: None,
            period,
            status,
            calls,
            traffic: None,
            failures: None,
            certificates: None,
            counts,
        }
    }

    /// Tells where the admin pages are, too.
    #[must_use]
    pub fn with_admin(mut self, admin: Option<SocketAddr>) -> Self {
        self.admin = admin;
        self
    }

    /// Tells what the last requests failed for, too.
    #[must_use]
    pub fn with_failures(mut self, latest: impl Fn() -> Vec<FailureView> + 'static) -> Self {
        self.failures = Some(Latest(Box::new(latest)));
        self
    }

    /// Tells what came of requests, too.
    #[must_use]
    pub fn with_traffic(mut self, traffic: Traffic) -> Self {
        self.traffic = Some(traffic);
        self
    }

    /// Tells of certificates, too.
    #[must_use]
    pub fn with_certificates(mut self, identity: Rc<Keeper>, shown: Rc<Certificates>) -> Self {
        self.certificates = Some((identity, shown));
        self
    }

    /// How it goes.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Reports for ever.
    pub async fn run(mut self) {
        let mut trouble = None;
        loop {
            let outcome = self.report().await;
            match &outcome {
                Ok(()) => {
                    self.counts.sent.fetch_add(1, Relaxed);
                    if trouble.take().is_some() {
                        tracing::info!("reports arrive again");
                    }
                }
                Err(error) => {
                    self.counts.failed.fetch_add(1, Relaxed);
                    let why = chain(error);
                    if trouble.as_ref() != Some(&why) {
                        tracing::warn!("reports don't arrive (--report): {why}");
                        trouble = Some(why);
                    }
                }
            }
            tokio::time::sleep(self.period.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))).await;
        }
    }

    /// Reports once.
    pub async fn report(&mut self) -> Result<(), ReportError> {
        let calls = self.calls.lately(clock::now_ns());
        let mut report = Report::new(&self.node, &self.service, &self.status.view(), calls);
        report.admin = self.admin;
        report.traffic = self.traffic.as_mut().map(|traffic| traffic.lately(clock::now_ns()));
        if let Some(Latest(latest)) = &self.failures {
            report = report.with_failures(latest());
        }
        if let Some((identity, shown)) = &self.certificates {
            report.identity = identity.view().map(bounded);
            report.shown = shown.view();
            // Those that end first.
            report.shown.sort_by_key(|shown| shown.until_unix);
            report.shown.truncate(CERTIFICATES_MAX);
        }
        let body = report.encode()?;
        match &self.target {
            ReportTarget::Folder(folder) => {
                let name = format!("{}.{}.{}.json", self.service.namespace(), self.service.name(), self.node);
                Ok(replace(folder, &name, &body)?)
            }
            ReportTarget::ControlPlane(collector) => Ok(post::post(collector, body).await?),
        }
    }
}

impl Counts {
    /// Writes them.
    pub fn write(&self, exposition: &mut Exposition) {
        exposition
            .counter("outrigger_reports_total", "Reports, by what came of them.")
            .sample(&[("result", "ok")], self.sent.load(Relaxed))
            .sample(&[("result", "failed")], self.failed.load(Relaxed));
    }
}

/// Whoever reads the folder sees the old report or the new one. It need not outlive a power failure: the next comes soon.
fn replace(folder: &Path, name: &str, body: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".{name}.new"));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o644).open(&beside)?;
    file.write_all(body)?;
    std::fs::rename(&beside, folder.join(name))
}

/// Finds the latest failures, the newest first.
struct Latest(Box<dyn Fn() -> Vec<FailureView>>);

impl fmt::Debug for Latest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Latest")
    }
}

/// As much of it as a control plane takes.
fn bounded(mut identity: IdentityView) -> IdentityView {
    identity.trouble = identity.trouble.as_deref().map(cut);
    identity.certificates.truncate(CERTIFICATES_MAX);
    for certificate in &mut identity.certificates {
        certificate.subject = cut(&certificate.subject);
    }
    identity
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_explains_a_report_is_bounded_and_left_out_where_it_makes_it_too_large() {
        let service: ServiceName = "default/shop".parse().expect("a name");
        let failure = || FailureView { sentence: "ü".repeat(TEXT_BYTES_MAX), ..FailureView::default() };
        let report = || {
            Report::new("n", &service, &View::default(), Vec::new())
                .with_failures((0..FAILURES_MAX + 4).map(|_| failure()))
        };
        assert_eq!(report().failures.len(), FAILURES_MAX);
        assert!(report().failures.iter().all(|failure| failure.sentence.len() == TEXT_BYTES_MAX));
        let body = |report: Report| String::from_utf8(report.encode().expect("JSON")).expect("UTF-8");
        assert!(body(report()).contains("sentence"));
        // Escaped, each of these is six bytes.
        let mut large = report();
        let dull = FailureView { route: "\u{1}".repeat(TEXT_BYTES_MAX), ..failure() };
        large.failures =
            vec![FailureView { id: dull.route.clone(), reason: dull.route.clone(), ..dull }; FAILURES_MAX];
        let told = body(large);
        assert!(told.len() <= BODY_BYTES_MAX && !told.contains("sentence"), "{}", told.len());
        assert!(told.contains("default/shop"));
    }
}
