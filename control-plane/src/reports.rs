//! What proxies say they run, and whom they call. Kept in memory only: after a restart it is complete again as soon as each proxy has
//! reported once more. It explains the mesh; all that it steers are the counts and seats of [callers](crate::peers).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};

use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::seats;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::peers::{Callers, FALL_AFTER_MS};

mod traffic;

pub use traffic::{BUCKETS_MAX, ClusterTraffic, FAILURES_MAX, FailureStory, TRAFFIC_MAX, Traffic};

/// Most proxies remembered; beyond that the longest silent one is forgotten.
pub const PROXIES_MAX: usize = 20_000;

/// Longest text in a report, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;

/// Most quarantined digests in one report.
pub const QUARANTINED_MAX: usize = 64;

/// Most clusters that one report says were called.
pub const CALLS_MAX: usize = 256;

/// Most certificates in one report.
pub const CERTIFICATES_MAX: usize = 80;

/// After this long without a report a proxy counts as silent, in milliseconds.
pub const SILENT_AFTER_MS: u64 = 60_000;

/// After this long without a report a proxy is forgotten, in milliseconds.
pub const FORGOTTEN_AFTER_MS: u64 = 24 * 3_600 * 1_000;

/// What one proxy says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Who: the proxy's `--node`.
    pub node: String,
    /// The service it stands beside, `namespace/name`.
    pub service: String,
    /// The version of `outrigger-proxy`.
    pub version: String,
    /// Where its admin pages are; absent if the proxy is too old to say. On loopback, only its own machine reaches them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub admin: Option<SocketAddr>,
    /// What it runs; absent if it has no plan yet.
    #[serde(default)]
    pub running: Option<Running>,
    /// Since when it runs that, milliseconds since 1970.
    #[serde(default)]
    pub since_unix_ms: u64,
    /// Snapshots it has refused since it started.
    #[serde(default)]
    pub refusals: u64,
    /// Why it refused the last one, if what it runs is older than that.
    #[serde(default)]
    pub last_refusal: Option<String>,
    /// Digests that it will not run again.
    #[serde(default)]
    pub quarantined: Vec<String>,
    /// Clusters that it has called in the last ten minutes, `namespace/name:port`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub calls: BTreeSet<ClusterName>,
    /// What came of requests lately; absent if the proxy is too old to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The last requests that it refused or gave up on, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailureStory>,
    /// Who it is to others, if it was given an identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// What it shows to those outside the mesh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<Shown>,
}

/// A certificate that a proxy shows to those outside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shown {
    /// As resources name it, `namespace/name`.
    pub name: String,
    /// The leaf's number, in hexadecimal; empty if there is none that can be used.
    #[serde(default)]
    pub serial: String,
    /// Until when it can be shown, in seconds since 1970; 0 if there is none.
    pub until_unix: i64,
    /// Why what the proxy finds now is not used, a word.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// Who a proxy is to others, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// Its SPIFFE ID, once it can prove it.
    #[serde(default)]
    pub id: Option<String>,
    /// Its own certificate, those between it and the root, and the roots that it believes.
    pub certificates: Vec<Certificate>,
    /// When it asks for a new one, in seconds since 1970, if it asks.
    #[serde(default)]
    pub renewal_unix: Option<u64>,
    /// Why no new one comes, if something is wrong.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// `leaf`, `intermediate` or `root`; of a control plane also `server`, which is its own.
    pub role: String,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// Whose it is, by its own words.
    #[serde(default)]
    pub subject: String,
    /// Until when, in seconds since 1970.
    pub until_unix: i64,
}

/// The release that a proxy runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Running {
    /// Epoch of the release.
    pub epoch: u64,
    /// Number of the release.
    pub n: u64,
    /// Digest of the policy object.
    #[serde(default)]
    pub policy: String,
    /// Digest of the facts object.
    #[serde(default)]
    pub facts: String,
}

/// A report that is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It doesn't say who sends it.
    #[error("the report has no {0}: expected a text")]
    Unnamed(&'static str),
    /// Something is too long.
    #[error("{field} is longer than the {limit} that a report may carry")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// The limit: bytes of a text, entries of a list.
        limit: usize,
    },
}

/// What the proxies run, in sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// Proxies that have reported to this replica in the last minute.
    pub reporting: usize,
    /// Of those: run the newest release.
    pub current: usize,
    /// Of those: run an older release.
    pub behind: usize,
    /// Of those: have no plan.
    pub without_plan: usize,
    /// Of those: refused a snapshot newer than what they run.
    pub refusing: usize,
    /// Of those: have a digest in quarantine.
    pub quarantining: usize,
    /// Reported before, but not in the last minute.
    pub silent: usize,
}

/// One proxy in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proxy {
    /// What it said last.
    pub report: Report,
    /// How long ago, in milliseconds.
    pub age_ms: u64,
    /// Whether it runs the newest release.
    pub current: bool,
    /// Whether it hasn't reported in the last minute.
    pub silent: bool,
}

/// The newest reports, one of each proxy.
#[derive(Debug, Default)]
pub struct ReportTable {
    proxies: BTreeMap<(String, String), Received>,
}

#[derive(Debug)]
struct Received {
    report: Report,
    /// Its number among the callers of a cluster.
    caller: u64,
    at_unix_ms: u64,
}

impl Received {
    fn age_ms(&self, now_unix_ms: u64) -> u64 {
        now_unix_ms.saturating_sub(self.at_unix_ms)
    }
}

impl Report {
    /// It came from there: a proxy whose admin pages are at every address of its machine has them at this one.
    pub fn came_from(&mut self, peer: IpAddr) {
        if let Some(admin) = self.admin.as_mut().filter(|admin| admin.ip().is_unspecified()) {
            admin.set_ip(peer.to_canonical());
        }
    }
}

impl ReportTable {
    /// Keeps `report` as the newest of its proxy. `now_unix_ms`: when it came.
    pub fn record(&mut self, report: Report, now_unix_ms: u64) -> Result<(), ReportError> {
        check(&report)?;
        let key = (report.service.clone(), report.node.clone());
        if self.proxies.len() >= PROXIES_MAX && !self.proxies.contains_key(&key) {
            self.forget(now_unix_ms);
        }
        let caller = seats::caller(&report.service, &report.node);
        self.proxies.insert(key, Received { report, caller, at_unix_ms: now_unix_ms });
        Ok(())
    }

    /// All proxies, by service and node, compared with the newest release (epoch, n).
    pub fn proxies(&self, newest: Option<(u64, u64)>, now_unix_ms: u64) -> Vec<Proxy> {
        self.proxies
            .values()
            .map(|received| {
                let age_ms = received.age_ms(now_unix_ms);
                let running = received.report.running.as_ref().map(|running| (running.epoch, running.n));
                Proxy {
                    report: received.report.clone(),
                    age_ms,
                    current: running.is_some() && running >= newest,
                    silent: age_ms > SILENT_AFTER_MS,
                }
            })
            .filter(|proxy| proxy.age_ms <= FORGOTTEN_AFTER_MS)
            .collect()
    }

    /// Who has called each cluster lately, by the last words of the proxies that have said something for so long as counts stand.
    pub fn callers(&self, now_unix_ms: u64) -> BTreeMap<ClusterName, Callers> {
        let mut callers = BTreeMap::<&ClusterName, Callers>::new();
        for received in self.proxies.values() {
            let age_ms = received.age_ms(now_unix_ms);
            for cluster in received.report.calls.iter().filter(|_| age_ms <= FALL_AFTER_MS) {
                let of_cluster = callers.entry(cluster).or_default();
                match age_ms <= SILENT_AFTER_MS {
                    true => of_cluster.heard.insert(received.caller),
                    false => of_cluster.silent.insert(received.caller),
                };
            }
        }
        callers.into_iter().map(|(cluster, callers)| (cluster.clone(), callers)).collect()
    }

    /// All proxies that are remembered, whatever they call.
    pub fn known(&self) -> HashSet<u64> {
        self.proxies.values().map(|received| received.caller).collect()
    }

    /// Makes room: drops what is old enough to be forgotten, or else the longest silent one.
    fn forget(&mut self, now_unix_ms: u64) {
        self.proxies.retain(|_, received| received.age_ms(now_unix_ms) <= FORGOTTEN_AFTER_MS);
        if self.proxies.len() >= PROXIES_MAX {
            let oldest = self.proxies.iter().min_by_key(|(_, received)| received.at_unix_ms);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.proxies.remove(&key);
            }
        }
    }
}

impl Coverage {
    /// Counts `proxies`.
    pub fn of(proxies: &[Proxy]) -> Self {
        let mut coverage = Self::default();
        for proxy in proxies {
            if proxy.silent {
                coverage.silent += 1;
                continue;
            }
            coverage.reporting += 1;
            coverage.current += usize::from(proxy.current);
            coverage.without_plan += usize::from(proxy.report.running.is_none());
            coverage.behind += usize::from(proxy.report.running.is_some() && !proxy.current);
            coverage.refusing += usize::from(proxy.report.last_refusal.is_some());
            coverage.quarantining += usize::from(!proxy.report.quarantined.is_empty());
        }
        coverage
    }
}

fn check(report: &Report) -> Result<(), ReportError> {
    let running = report.running.as_ref();
    let texts = [
        ("node", Some(&report.node)),
        ("service", Some(&report.service)),
        ("version", Some(&report.version)),
        ("last_refusal", report.last_refusal.as_ref()),
        ("running.policy", running.map(|running| &running.policy)),
        ("running.facts", running.map(|running| &running.facts)),
    ];
    let identity = report.identity.as_ref();
    let told = identity.into_iter().flat_map(|identity| {
        [("identity.id", identity.id.as_ref()), ("identity.trouble", identity.trouble.as_ref())]
    });
    let certificates = identity.into_iter().flat_map(|identity| &identity.certificates);
    let written = certificates.flat_map(|one| [&one.role, &one.serial, &one.subject]);
    let written = written.map(|text| ("identity.certificates", Some(text)));
    let quarantined = report.quarantined.iter().map(|digest| ("quarantined", Some(digest)));
    let shown =
        report.shown.iter().flat_map(|one| [Some(&one.name), Some(&one.serial), one.trouble.as_ref()]);
    let shown = shown.map(|text| ("shown", text));
    for (field, text) in texts.into_iter().chain(told).chain(written).chain(shown).chain(quarantined) {
        if text.is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(ReportError::TooLong { field, limit: TEXT_BYTES_MAX });
        }
    }
    if report.quarantined.len() > QUARANTINED_MAX {
        return Err(ReportError::TooLong { field: "quarantined", limit: QUARANTINED_MAX });
    }
    if identity.is_some_and(|identity| identity.certificates.len() > CERTIFICATES_MAX) {
        return Err(ReportError::TooLong { field: "identity.certificates", limit: CERTIFICATES_MAX });
    }
    if report.shown.len() > CERTIFICATES_MAX {
        return Err(ReportError::TooLong { field: "shown", limit: CERTIFICATES_MAX });
    }
    if report.calls.len() > CALLS_MAX {
        return Err(ReportError::TooLong { field: "calls", limit: CALLS_MAX });
    }
    for (field, text) in [("node", &report.node), ("service", &report.service)] {
        if text.is_empty() {
            return Err(ReportError::Unnamed(field));
        }
    }
    traffic::check(report.traffic.as_ref(), &report.failures)
}

#[cfg(test)]
mod tests;
