//! One control plane: its store and keys, what it knows of the mesh, and what proxies told it.

mod base;
mod change;
pub mod draft;
mod error;
mod memory;
mod open;
mod read;
mod tokens;
mod turn;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_snapshot::keys::PublicKey;
use outrigger_store::Store;
use outrigger_store::write::{Head, Publisher, StateDir};
use tokio::sync::Notify;

use crate::enrol::Enrolment;
use crate::reports::ReportTable;
use crate::server::Metrics;

pub use error::MeshError;
pub use memory::{Memory, MemoryError};
pub(crate) use open::trusted;
pub use open::{OpenFailure, Settings};
pub use tokens::TokenFailure;
pub use turn::Turned;

/// Longest time that the loop may take for a turn before the process counts as hanging.
const STUCK_AFTER: Duration = Duration::from_secs(300);

/// A control plane, shared by its loop and its API.
#[derive(Debug)]
pub struct ControlPlane {
    store: Store,
    interval: Duration,
    signing_key: Option<std::path::PathBuf>,
    trusted: Vec<PublicKey>,
    /// Where the highest that was seen is kept.
    state: Option<StateDir>,
    /// Keeps the state folder locked.
    _memory: Option<Memory>,
    single_writer: bool,
    /// Whether it is known that the store honours create-if-absent, or that it needn't.
    proven: AtomicBool,
    /// `None` until there is a key to sign with: on a folder store it is made at the first push.
    publisher: tokio::sync::Mutex<Option<Publisher>>,
    known: Mutex<Known>,
    reports: Mutex<ReportTable>,
    /// Since when proxies can report here, in milliseconds since 1970.
    started_ms: u64,
    metrics: Metrics,
    wake: Notify,
    /// The authority, if it is one.
    enrolment: Option<Arc<Enrolment>>,
}

/// What was true when the loop turned last, or a push was made.
#[derive(Debug, Default)]
struct Known {
    head: Option<Head>,
    key: Option<PublicKey>,
    trouble: Option<String>,
    /// Milliseconds since 1970; 0 before the first.
    turned_ms: u64,
    beaten_ms: u64,
}

impl ControlPlane {
    /// How often the loop turns.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Waits for a push, so that it is published without waiting for the interval's end.
    pub async fn pushed(&self) {
        self.wake.notified().await;
    }

    /// What keeps it from publishing, a sentence.
    pub fn trouble(&self) -> Option<String> {
        let known = self.known();
        if known.turned_ms == 0 {
            return Some("starting: the store wasn't read yet".to_owned());
        }
        known.trouble.clone()
    }

    /// Whether the loop hasn't come round for far too long.
    pub fn is_stuck(&self) -> bool {
        let turned_ms = self.known().turned_ms;
        let longest = STUCK_AFTER.saturating_add(self.interval * 2);
        turned_ms != 0 && u128::from(now_ms().saturating_sub(turned_ms)) > longest.as_millis()
    }

    /// The authority, if this control plane is one.
    pub fn enrolment(&self) -> Option<&Arc<Enrolment>> {
        self.enrolment.as_ref()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether it is known what the store holds, be it nothing. A look that failed says nothing of that.
    pub(crate) fn has_turned(&self) -> bool {
        let known = self.known();
        known.head.is_some() || (known.turned_ms != 0 && known.trouble.is_none())
    }

    /// The newest revision that was seen.
    pub(crate) fn newest_known(&self) -> Option<Revision> {
        self.known().head.as_ref().and_then(|head| head.revision.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked while writing it left whole values behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reports(&self) -> MutexGuard<'_, ReportTable> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what is newest, for those who ask.
    fn learn(&self, head: &Head) {
        self.metrics.epoch.set(head.epoch.epoch);
        self.metrics.revision.set(head.revision_number());
        self.metrics.release.set(head.release_number());
        self.known().head = Some(head.clone());
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs what takes the processor for long where it keeps nobody waiting.
async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, MeshError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| MeshError::Stopped)
}

/// Shared, so that a draft can be made of it on another thread.
type Revision = Arc<outrigger_snapshot::record::Revision>;
