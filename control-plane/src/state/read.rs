//! Questions about the mesh.

use outrigger_store::write::{Head, WriteError};

use super::{ControlPlane, MeshError, computed, now_ms};
use crate::api::wire::{History, Noted, ReleaseSummary, Resources, RevisionSummary, Status};
use crate::overview::Overview;
use crate::reports::{Coverage, Report, ReportError};

/// How often proxies should report, in milliseconds.
const REPORT_EVERY_MS: u64 = 10_000;

impl ControlPlane {
    /// The resources of a revision, or of the newest.
    ///
    /// # Errors
    /// [`MeshError`].
    pub async fn resources(&self, revision: Option<u64>) -> Result<Resources, MeshError> {
        if let Some(n) = revision {
            let older = self.older(n).await?;
            return Ok(Resources { revision: n, epoch: older.serial.epoch, resources: older.resources });
        }
        let newest = self.newest().await?;
        Ok(newest.map_or(Resources { revision: 0, epoch: 0, resources: Vec::new() }, |newest| Resources {
            revision: newest.serial.n,
            epoch: newest.serial.epoch,
            resources: newest.resources.clone(),
        }))
    }

    /// The newest revisions.
    ///
    /// # Errors
    /// [`MeshError`].
    pub async fn history(&self, limit: usize) -> Result<History, MeshError> {
        if self.newest().await?.is_none() {
            return Ok(History { revisions: Vec::new() });
        }
        let mut place = self.publisher.lock().await;
        let publisher = self.find_publisher(&mut place)?.ok_or(WriteError::NoKey)?;
        let revisions = publisher.history(limit).await?.into_iter().map(|summary| RevisionSummary {
            epoch: summary.serial.epoch,
            revision: summary.serial.n,
            author: summary.author,
            message: summary.message,
            time_unix_ms: summary.time_ms,
            resources: summary.resources,
            allow_shrink: summary.allow_shrink,
        });
        Ok(History { revisions: revisions.collect() })
    }

    /// How the mesh is, as far as this control plane knows. Never waits for the store.
    pub fn status(&self) -> Status {
        let now = now_ms();
        let trouble = self.trouble();
        let known = self.known();
        let head = known.head.as_ref();
        let newest = head
            .and_then(|head| head.release.as_ref())
            .map(|release| (release.serial.epoch, release.serial.n));
        let proxies = self.reports().proxies(newest, now);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: self.store.place().to_owned(),
            mesh: head.map(|head| head.epoch.mesh.to_string()),
            trust_key: known.key.map(|key| key.to_string()),
            ready: trouble.is_none(),
            trouble,
            revision: head.and_then(revision_summary),
            release: head.and_then(release_summary),
            heartbeat_age_ms: (known.beaten_ms > 0).then(|| now.saturating_sub(known.beaten_ms)),
            coverage: Coverage::of(&proxies),
            proxies,
            authority: self.enrolment.as_ref().map(|enrolment| enrolment.told()),
        }
    }

    /// The mesh at a glance, as far as this control plane knows. Never waits for the store.
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub async fn overview(&self) -> Result<Overview, MeshError> {
        let (status, newest) = (self.status(), self.newest_known());
        computed(move || {
            let resources = newest.as_ref().map_or(&[][..], |revision| &revision.resources);
            Overview::of(status, resources, now_ms())
        })
        .await
    }

    /// Keeps what a proxy says.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn record(&self, report: Report) -> Result<Noted, ReportError> {
        self.reports().record(report, now_ms())?;
        self.metrics.reports.increment();
        Ok(Noted { again_in_ms: REPORT_EVERY_MS })
    }

    /// All metrics, as Prometheus scrapes them.
    pub fn render_metrics(&self) -> String {
        let reporting = Coverage::of(&self.reports().proxies(None, now_ms())).reporting;
        self.metrics.proxies.set(reporting as u64);
        self.metrics.log_dropped.set(outrigger_outlet::lost().iter().sum());
        let mut text = self.metrics.render();
        text.extend(self.enrolment.iter().map(|enrolment| enrolment.render()));
        text
    }
}

fn revision_summary(head: &Head) -> Option<RevisionSummary> {
    let revision = head.revision.as_ref()?;
    Some(RevisionSummary {
        epoch: revision.serial.epoch,
        revision: revision.serial.n,
        author: revision.author.clone(),
        message: revision.message.clone(),
        time_unix_ms: revision.time_ms,
        resources: revision.resources.len(),
        allow_shrink: revision.allow_shrink,
    })
}

fn release_summary(head: &Head) -> Option<ReleaseSummary> {
    let release = head.release.as_ref()?;
    Some(ReleaseSummary {
        epoch: release.serial.epoch,
        release: release.serial.n,
        revision: release.revision,
        compiler: release.compiler,
        time_unix_ms: release.time_ms,
        rejected: release.rejected,
    })
}
