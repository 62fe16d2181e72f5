//! Who this proxy is to others, and whom it believes: its certificate, from files that something else renews, and the trust bundle of the
//! snapshot. Kept by the control thread; workers take what is in force for each connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use outrigger_certs::files::{Files, FilesError, Watched};
use outrigger_certs::mesh::Mesh;
use outrigger_certs::svid::Svid;
use outrigger_certs::trust::TrustBundle;
use rustls_pki_types::UnixTime;
use tokio::time::{MissedTickBehavior, interval};

pub use self::metrics::write;

mod metrics;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What workers see.
#[derive(Debug, Default)]
pub struct Identity {
    wanted: bool,
    mesh: ArcSwapOption<Mesh>,
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

    /// What is in force.
    pub fn standing(&self) -> Standing {
        match self.mesh.load_full() {
            Some(mesh) => Standing::Proved(mesh),
            None if self.wanted => Standing::Awaited,
            None => Standing::None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Identity>,
    watched: RefCell<Option<Watched>>,
    svid: RefCell<Option<Svid>>,
    bundle: RefCell<Option<Arc<TrustBundle>>>,
    /// Times that a certificate came into force.
    renewals: Cell<u64>,
    /// Times that one was not put into force.
    refusals: Cell<u64>,
}

impl Keeper {
    /// Reads the files, if there are any: a proxy that cannot prove who it is at its start was set up wrongly.
    pub fn new(files: Option<Files>) -> Result<Rc<Self>, FilesError> {
        let keeper = Self {
            shared: Arc::new(Identity { wanted: files.is_some(), mesh: ArcSwapOption::empty() }),
            watched: RefCell::new(files.map(Watched::new)),
            svid: RefCell::default(),
            bundle: RefCell::default(),
            renewals: Cell::new(0),
            refusals: Cell::new(0),
        };
        keeper.look()?;
        Ok(Rc::new(keeper))
    }

    /// What workers see.
    pub fn shared(&self) -> &Arc<Identity> {
        &self.shared
    }

    /// Looks at the files again and again.
    pub async fn run(self: Rc<Self>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = self.look() {
                self.refusals.set(self.refusals.get() + 1);
                let kept = self.svid.borrow().as_ref().map(Svid::not_after_unix);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    kept_until_unix = kept,
                    "a certificate is not put into force"
                );
            }
        }
    }

    /// Believes what the snapshot says from now on.
    pub fn believe(&self, bundle: Option<Arc<TrustBundle>>) {
        *self.bundle.borrow_mut() = bundle;
        self.renew();
    }

    /// Takes what is new in the files; what cannot be used changes nothing.
    fn look(&self) -> Result<(), FilesError> {
        let Some(looked) =
            self.watched.borrow_mut().as_mut().and_then(|watched| watched.look(UnixTime::now()))
        else {
            return Ok(());
        };
        let svid = looked?;
        tracing::info!(id = %svid.id(), until_unix = svid.not_after_unix(), "a certificate is put into force");
        *self.svid.borrow_mut() = Some(svid);
        self.renewals.set(self.renewals.get() + 1);
        self.renew();
        Ok(())
    }

    /// Puts certificate and bundle into force, for connections from now on.
    fn renew(&self) {
        let (svid, bundle) = (self.svid.borrow().clone(), self.bundle.borrow().clone());
        let mesh = svid.zip(bundle).map(|(svid, bundle)| Mesh::new(svid, bundle));
        match mesh.transpose() {
            Ok(mesh) => self.shared.mesh.store(mesh.map(Arc::new)),
            // The certificate was checked when it was read.
            Err(error) => tracing::error!(%error, "the certificate cannot be used for TLS"),
        }
    }
}
