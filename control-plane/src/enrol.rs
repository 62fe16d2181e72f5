//! The mesh's certificate authority: makes certificates for sidecars that prove who they are, by a join token or by the certificate they
//! have. On a listener of its own, which asks for no credentials of the API.

mod attempts;
mod decide;
pub mod folder;
mod metrics;
mod places;
mod refusal;
mod serve;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use outrigger_certs::authority::IssueError;
use outrigger_certs::enrol;
use outrigger_certs::files::is_open;
use outrigger_certs::inspect::Facts;
use outrigger_certs::pem;
use outrigger_certs::problem::Problem;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use outrigger_snapshot::identity::SpiffeId;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::api::wire::AuthorityStatus;
use crate::causes::with_causes;
use crate::reports::Certificate;

pub use attempts::Attempts;
pub use folder::{Folder, FolderError};
pub use places::Places;
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
        problem: Problem,
    },
    /// Its time is over, or has not come.
    #[error(
        "the authority in {} (--ca) can make no certificates: {problem}; `outrigger certs renew` makes a new intermediate",
        folder.display()
    )]
    Untimely {
        /// Which.
        folder: PathBuf,
        /// Which of the two.
        problem: Problem,
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
    places: Arc<Places>,
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
    /// Why no certificates can be made: the authority's time is over, or has not come. The own one has then ended, too.
    untimely: Option<Problem>,
}

impl Enrolment {
    /// With the authority in `folder`, for certificates of this lifetime. One whose time is over is taken all the same: a new one comes into
    /// force when it is there.
    pub fn open(folder: PathBuf, lifetime: Duration, now: UnixTime) -> Result<Self, EnrolError> {
        let current = Current::load(Folder::load(&folder)?, &folder, now)?;
        let key = folder.join("ca.key");
        if is_open(&key) {
            tracing::warn!(file = %key.display(), "others than its owner may read the key of the authority");
        }
        Ok(Self {
            folder,
            lifetime,
            current: RwLock::new(Arc::new(current)),
            attempts: Mutex::default(),
            places: Arc::default(),
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
            let error = looked.ok().and_then(Result::err).map(|error| match error {
                EnrolError::Untimely { .. } => error.to_string(),
                error => with_causes("the authority stays as it was", &error),
            });
            if let Some(error) = error.as_ref().filter(|error| trouble.as_ref() != Some(*error)) {
                tracing::error!("{error}");
            }
            trouble = error;
        }
    }

    fn look(&self, now: UnixTime) -> Result<(), EnrolError> {
        let before = self.current();
        let folder = Folder::load(&self.folder)?;
        let changed = folder.digest() != before.folder.digest();
        if changed || before.is_due(now) {
            let next = Current::load(folder, &self.folder, now)?;
            if changed {
                let serial = &next.folder.authority().facts().serial;
                tracing::info!(serial, "certificates are made by a new authority from now on");
            }
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        }
        match self.current().untimely {
            Some(problem) => Err(EnrolError::Untimely { folder: self.folder.clone(), problem }),
            None => Ok(()),
        }
    }

    /// What people are told of the authority.
    pub(crate) fn told(&self) -> AuthorityStatus {
        let current = self.current();
        let certificate = |role: &str, facts: &Facts| Certificate {
            role: role.to_owned(),
            serial: facts.serial.clone(),
            subject: facts.subject.clone(),
            until_unix: facts.not_after_unix,
        };
        let own = SpiffeId::of_service(current.folder.domain(), &enrol::control_plane());
        let mut certificates =
            vec![Certificate { subject: own.to_string(), ..certificate("server", &current.own_facts) }];
        let chain = current.folder.authority().chain_facts();
        certificates.extend(chain.map(|facts| certificate("intermediate", facts)));
        let roots = current.folder.roots().iter().filter_map(|root| Facts::of(root).ok());
        certificates.extend(roots.map(|facts| certificate("root", &facts)));
        let trouble = current
            .untimely
            .map(|problem| EnrolError::Untimely { folder: self.folder.clone(), problem }.to_string());
        AuthorityStatus { certificates, trouble }
    }

    /// The control plane's side of TLS with sidecars.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, EnrolError> {
        let config = enrol::server(Arc::new(Own(self.clone())))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its listener's places, by where connections come from.
    pub(crate) fn places(&self) -> Arc<Places> {
        self.places.clone()
    }
}

impl Current {
    fn load(folder: Folder, place: &std::path::Path, now: UnixTime) -> Result<Self, EnrolError> {
        let failed = |source| EnrolError::Own { folder: place.to_owned(), source };
        let id = SpiffeId::of_service(folder.domain(), &enrol::control_plane());
        let untimely = folder.check_time(now).err();
        // What sidecars are shown by an authority that has ended has ended, too, and they say so.
        let at = if untimely.is_some() { folder.authority().nearest(now) } else { now };
        let made = folder.authority().make(&id, OWN_LIFETIME, at).map_err(failed)?;
        let origin = "the control plane's own certificate";
        let mut chain =
            pem::chain(made.certificate.as_bytes(), origin).map_err(|error| failed(error.into()))?;
        let key = pem::key(made.key.as_bytes(), origin).map_err(|error| failed(error.into()))?;
        let unbelieved = |problem| EnrolError::Unbelieved { folder: place.to_owned(), problem };
        let bundle = TrustBundle::new(folder.domain().clone(), folder.roots(), &[]).map_err(unbelieved)?;
        match Verifier::new(Arc::new(bundle)).verify(&chain[0], &chain[1..], at) {
            Err(Problem::Expired | Problem::NotYetValid) if untimely.is_some() => {}
            verified => drop(verified.map_err(unbelieved)?),
        }
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
            untimely,
        })
    }

    /// Whether its own certificate is to be made anew. The clock may have been set, forwards or back.
    fn is_due(&self, now: UnixTime) -> bool {
        let untimely = self.folder.check_time(now).err();
        let renewed = self.own_renewed_unix <= now.as_secs() || self.own_facts.check_time(now).is_err();
        untimely != self.untimely || untimely.is_none() && renewed
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
