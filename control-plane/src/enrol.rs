//! The mesh's certificate authority: makes certificates for sidecars that prove who they are, by a join token or by the certificate they
//! have. On a listener of its own, which asks for no credentials of the API.

mod attempts;
mod decide;
pub mod folder;
mod metrics;
mod refusal;
mod serve;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use outrigger_certs::authority::IssueError;
use outrigger_certs::enrol;
use outrigger_certs::inspect::Facts;
use outrigger_certs::pem;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use outrigger_snapshot::identity::SpiffeId;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use attempts::Attempts;
pub use folder::{Folder, FolderError};
pub use refusal::Refusal;
pub(crate) use serve::router;

/// How often the authority's folder is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// For how long the control plane's own certificate is made; it is replaced after a third of that.
const OWN_LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// Shortest `--certificate-lifetime`: for tests, and for those who want to see a renewal.
pub const LIFETIME_MIN: Duration = Duration::from_secs(10);
/// Longest: a month.
pub const LIFETIME_MAX: Duration = Duration::from_secs(31 * 86_400);

/// Why a folder is no authority to enrol with.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The control plane's own certificate.
    #[error("the authority in {} (--ca) can't make the control plane's own certificate", folder.display())]
    Own {
        /// Which.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: IssueError,
    },
    /// Its certificates would not be believed by who believes the root beside it.
    #[error("what the authority in {} (--ca) makes is not believed by who believes its root.crt: {problem}", folder.display())]
    Unbelieved {
        /// Which.
        folder: PathBuf,
        /// Why not.
        problem: outrigger_certs::problem::Problem,
    },
    /// TLS.
    #[error("the enrolment can't be served over TLS")]
    Tls(#[from] rustls::Error),
}

/// See the module.
#[derive(Debug)]
pub struct Enrolment {
    folder: PathBuf,
    lifetime: Duration,
    current: RwLock<Arc<Current>>,
    attempts: Mutex<Attempts>,
    metrics: metrics::Counts,
}

/// What is in force.
#[derive(Debug)]
pub struct Current {
    /// The authority.
    pub folder: Folder,
    /// The control plane's own proof.
    own: Arc<CertifiedKey>,
    own_facts: Facts,
    /// After that its own certificate is made anew, in seconds since 1970.
    own_renewed_unix: u64,
}

impl Enrolment {
    /// With the authority in `folder`, for certificates of this lifetime.
    pub fn open(folder: PathBuf, lifetime: Duration) -> Result<Self, EnrolError> {
        let current = Current::load(Folder::load(&folder, UnixTime::now())?, &folder, UnixTime::now())?;
        Ok(Self {
            folder,
            lifetime,
            current: RwLock::new(Arc::new(current)),
            attempts: Mutex::default(),
            metrics: metrics::Counts::default(),
        })
    }

    /// What is in force.
    pub fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the folder again and again, until `stop` says true: a new authority is used at once, and one that cannot be used does not
    /// replace one that can.
    pub(crate) async fn keep(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut trouble = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let (own, now) = (self.clone(), UnixTime::now());
            let looked = tokio::task::spawn_blocking(move || own.look(now)).await;
            let error = looked.ok().and_then(Result::err).map(|error| crate::causes::with_causes("", &error));
            if let Some(error) = error.as_ref().filter(|error| trouble.as_ref() != Some(*error)) {
                tracing::error!("the authority stays as it was: {error}");
            }
            trouble = error;
        }
    }

    fn look(&self, now: UnixTime) -> Result<(), EnrolError> {
        let before = self.current();
        let folder = Folder::load(&self.folder, now)?;
        let changed = folder.digest() != before.folder.digest();
        if changed || before.own_renewed_unix <= now.as_secs() {
            let next = Current::load(folder, &self.folder, now)?;
            if changed {
                let serial = &next.folder.authority().facts().serial;
                tracing::info!(serial, "certificates are made by a new authority from now on");
            }
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        }
        Ok(())
    }

    /// The control plane's side of TLS with sidecars.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, EnrolError> {
        let config = enrol::server(Arc::new(Own(self.clone())))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether too many attempts from there have failed, and if so, for how long nothing is tried, in milliseconds.
    fn held_off(&self, from: IpAddr, now_ms: u64) -> Option<u64> {
        self.attempts().held_off(from, now_ms)
    }
}

impl Current {
    fn load(folder: Folder, place: &std::path::Path, now: UnixTime) -> Result<Self, EnrolError> {
        let failed = |source| EnrolError::Own { folder: place.to_owned(), source };
        let id = SpiffeId::of_service(folder.domain(), &enrol::control_plane());
        let made = folder.authority().make(&id, OWN_LIFETIME, now).map_err(failed)?;
        let origin = "the control plane's own certificate";
        let mut chain =
            pem::chain(made.certificate.as_bytes(), origin).map_err(|error| failed(error.into()))?;
        let key = pem::key(made.key.as_bytes(), origin).map_err(|error| failed(error.into()))?;
        let unbelieved = |problem| EnrolError::Unbelieved { folder: place.to_owned(), problem };
        let bundle = TrustBundle::new(folder.domain().clone(), folder.roots(), &[]).map_err(unbelieved)?;
        Verifier::new(Arc::new(bundle)).verify(&chain[0], &chain[1..], now).map_err(unbelieved)?;
        let own_facts = Facts::of(&chain[0]).map_err(unbelieved)?;
        let left = u64::try_from(own_facts.not_after_unix).unwrap_or(0).saturating_sub(now.as_secs());
        // By its root, a sidecar knows the control plane that has nothing but a join token with the root's digest.
        chain.extend(folder.roots().iter().cloned());
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
        Ok(Self {
            folder,
            own: Arc::new(CertifiedKey::new(chain, signing)),
            own_facts,
            own_renewed_unix: now.as_secs() + left / 3,
        })
    }
}

/// What the control plane proves itself with, the newest at each handshake.
#[derive(Debug)]
struct Own(Arc<Enrolment>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().own.clone())
    }
}
