//! Who this proxy is to others, and whom it believes: the certificate that a [`source`] hands over, and the trust bundle of the snapshot. Kept
//! by the control thread; workers take what is in force for each connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use outrigger_certs::mesh::Mesh;
use outrigger_certs::problem::Problem;
use outrigger_certs::svid::Svid;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use outrigger_snapshot::identity::TrustDomain;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::Notify;

use crate::caller::calls::Callers;

use self::peers::{Peer, Peers};

pub use self::metrics::write;
pub use self::view::{CertificateView, IdentityView};

mod doubts;
mod metrics;
pub mod peers;
mod review;
pub mod source;
mod view;

/// What workers see.
#[derive(Debug, Default)]
pub struct Identity {
    wanted: bool,
    mesh: ArcSwapOption<Mesh>,
    callers: Callers,
    peers: Peers,
}

/// Whether there is mutual TLS with others of the mesh.
#[derive(Debug)]
pub enum Standing {
    /// This proxy was given no identity.
    None,
    /// It was, and cannot prove it now, or does not know yet whom to believe. It does not speak in clear text in the meantime.
    Awaited,
    /// Both sides of it.
    Proved(Arc<Mesh>),
}

impl Identity {
    /// Whether this proxy was given an identity.
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// Who has called.
    pub fn callers(&self) -> &Callers {
        &self.callers
    }

    /// Who has connections with this proxy.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Enters a peer that has proved itself by these certificates to those who believe what `mesh` does.
    ///
    /// # Errors
    /// What has come into force since does not believe it.
    pub fn admit(&self, chain: &[CertificateDer<'_>], mesh: &Mesh) -> Result<Arc<Peer>, Problem> {
        let peer = self.peers.enter(chain)?;
        // Entered before this look, it is there for whoever puts something else into force after it.
        let now = self.mesh.load();
        let since = now.as_ref().filter(|now| !Arc::ptr_eq(now.bundle(), mesh.bundle()));
        match since.and_then(|now| review::refuses(now.bundle(), &peer, UnixTime::now())) {
            Some(problem) => Err(problem),
            None => Ok(peer),
        }
    }

    /// What is in force.
    pub fn standing(&self) -> Standing {
        match self.mesh.load_full() {
            Some(mesh) => Standing::Proved(mesh),
            None if self.wanted => Standing::Awaited,
            None => Standing::None,
        }
    }
}

/// Authorities of a trust domain, as the source of the certificate knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whose identities they vouch for.
    pub domain: TrustDomain,
    /// Their certificates.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Why no new certificate comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A word, for metrics.
    pub reason: String,
    /// A sentence.
    pub why: String,
}

/// See the module. The one place where a certificate comes into force.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Identity>,
    svid: RefCell<Option<Svid>>,
    bundle: RefCell<Option<Arc<TrustBundle>>>,
    /// Authorities that the source vouches for.
    told: RefCell<Option<Told>>,
    /// Somebody waits for the first certificate.
    proved: Notify,
    /// Others may be believed than before.
    renewed: Notify,
    /// Why no new certificate comes; `None`: nothing is wrong.
    trouble: RefCell<Option<Trouble>>,
    /// What is wrong with the certificate in force or with whom it is believed by, as the snapshot has it; it may be all there is.
    doubts: RefCell<Vec<Trouble>>,
    /// When the source asks for a new one, in seconds since 1970.
    renewal_unix: Cell<Option<u64>>,
    /// Times that a certificate came into force.
    renewals: Cell<u64>,
    /// Times that one was not put into force.
    refusals: Cell<u64>,
    /// Times that none could be had.
    failures: Cell<u64>,
}

impl Keeper {
    /// Nothing is in force yet. `wanted`: a source is going to hand something over.
    pub fn new(wanted: bool) -> Rc<Self> {
        Rc::new(Self {
            shared: Arc::new(Identity { wanted, ..Identity::default() }),
            svid: RefCell::default(),
            bundle: RefCell::default(),
            told: RefCell::default(),
            proved: Notify::new(),
            renewed: Notify::new(),
            trouble: RefCell::default(),
            doubts: RefCell::default(),
            renewal_unix: Cell::default(),
            renewals: Cell::default(),
            refusals: Cell::default(),
            failures: Cell::default(),
        })
    }

    /// What workers see.
    pub fn shared(&self) -> &Arc<Identity> {
        &self.shared
    }

    /// The certificate in force, if it is valid at `now`.
    pub fn valid(&self, now: UnixTime) -> Option<Svid> {
        let svid = self.svid.borrow().clone()?;
        let valid = svid.facts().iter().all(|facts| facts.check_time(now).is_ok());
        valid.then_some(svid)
    }

    /// What is wrong with putting a new certificate into force: the mesh does not believe it, and believes the one in force.
    pub fn worsens(&self, svid: &Svid, now: UnixTime) -> Option<Problem> {
        let (old, verifier) = (self.valid(now)?, Verifier::new(self.believed()?));
        let verify = |svid: &Svid| {
            let (leaf, above) = svid.chain().split_first().ok_or(Problem::Missing)?;
            verifier.verify(leaf, above, now).map(|_| ())
        };
        verify(&old).ok()?;
        verify(svid).err()
    }

    /// Whom the snapshot has believed.
    pub fn bundle(&self) -> Option<Arc<TrustBundle>> {
        self.bundle.borrow().clone()
    }

    /// Believes what the snapshot says from now on.
    pub fn believe(&self, bundle: Option<Arc<TrustBundle>>) {
        *self.bundle.borrow_mut() = bundle;
        self.renew();
    }

    /// Believes these as well, if the snapshot is of their trust domain: whoever says who this proxy is may say so of others.
    pub fn tell(&self, told: Told) {
        if self.told.borrow().as_ref() != Some(&told) {
            *self.told.borrow_mut() = Some(told);
            self.renew();
        }
    }

    /// Everyone who is believed.
    fn believed(&self) -> Option<Arc<TrustBundle>> {
        let bundle = self.bundle()?;
        let told = self.told.borrow();
        let Some(told) = told.as_ref().filter(|told| told.domain == *bundle.domain()) else {
            return Some(bundle);
        };
        let joined = bundle.with(&told.roots);
        joined
            .map(Arc::new)
            .inspect_err(|problem| {
                tracing::error!("authorities that the agent names are not believed: {problem}")
            })
            .ok()
            .or(Some(bundle))
    }

    /// Puts a certificate into force that was checked.
    pub fn install(&self, svid: Svid) {
        tracing::info!(id = %svid.id(), until_unix = svid.not_after_unix(), "a certificate is put into force");
        *self.svid.borrow_mut() = Some(svid);
        self.trouble.take();
        self.renewals.set(self.renewals.get() + 1);
        self.renew();
        self.proved.notify_waiters();
    }

    /// Notes that what is in force is the newest there is.
    pub fn confirm(&self) {
        self.trouble.take();
    }

    /// Notes that a new certificate cannot be used; what is in force stays.
    pub fn refuse(&self, trouble: Trouble) {
        self.refusals.set(self.refusals.get() + 1);
        let Trouble { reason, why } = &trouble;
        tracing::error!(
            reason,
            kept_until_unix = self.until_unix(),
            "a certificate is not put into force: {why}"
        );
        *self.trouble.borrow_mut() = Some(trouble);
    }

    /// Notes that none could be had; what is in force stays.
    pub fn fail(&self, trouble: Trouble) {
        self.failures.set(self.failures.get() + 1);
        let Trouble { reason, why } = &trouble;
        tracing::warn!(reason, kept_until_unix = self.until_unix(), "no new certificate can be had: {why}");
        *self.trouble.borrow_mut() = Some(trouble);
    }

    /// Notes when the source asks for a new one, in seconds since 1970.
    pub fn renews_at(&self, unix: u64) {
        self.renewal_unix.set(Some(unix));
    }

    /// Why this proxy cannot prove who it is, a sentence; `None`: it can, or need not.
    pub fn awaited(&self) -> Option<String> {
        let now = UnixTime::now();
        if !self.shared.wanted || self.valid(now).is_some() {
            return None;
        }
        let untimely = |svid: &Svid| svid.facts().iter().find_map(|facts| facts.check_time(now).err());
        let untimely = self.svid.borrow().as_ref().map(untimely);
        let usual = match untimely {
            None => "the first is being asked for",
            Some(Some(Problem::NotYetValid)) => "its time has not come; is the clock right?",
            Some(_) => "its time is over",
        };
        let trouble = self.trouble.borrow();
        let why = match trouble.as_ref() {
            None => usual.to_owned(),
            Some(trouble) if untimely.is_some() => format!("{usual}, and no new one comes: {}", trouble.why),
            Some(trouble) => trouble.why.clone(),
        };
        Some(format!("it has no certificate that proves who it is: {why}"))
    }

    /// Waits until this proxy can prove who it is, if it needs to.
    pub async fn proved(&self) {
        while self.awaited().is_some() {
            self.proved.notified().await;
        }
    }

    fn until_unix(&self) -> Option<i64> {
        self.svid.borrow().as_ref().map(Svid::not_after_unix)
    }

    /// Puts certificate and bundle into force, for connections from now on.
    fn renew(&self) {
        let (svid, bundle) = (self.svid.borrow().clone(), self.believed());
        self.doubt(svid.as_ref(), bundle.as_ref());
        let mesh = svid.zip(bundle).map(|(svid, bundle)| Mesh::new(svid, bundle));
        match mesh.transpose() {
            Ok(mesh) => self.shared.mesh.store(mesh.map(Arc::new)),
            // The certificate was checked when it was read.
            Err(error) => tracing::error!(%error, "the certificate cannot be used for TLS"),
        }
        self.renewed.notify_one();
    }

    /// Looks at the own certificate as others will, and says once what they will find wrong. It is shown all the same: they may have another
    /// bundle, and there is nothing better.
    fn doubt(&self, svid: Option<&Svid>, bundle: Option<&Arc<TrustBundle>>) {
        let found = bundle.map(|bundle| doubts::of(svid, bundle, UnixTime::now())).unwrap_or_default();
        for Trouble { reason, why } in found.iter().filter(|doubt| !self.doubts.borrow().contains(doubt)) {
            tracing::warn!(reason, "{why}");
        }
        *self.doubts.borrow_mut() = found;
    }
}
