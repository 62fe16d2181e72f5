//! Files that something else renews: `--identity-cert` and `--identity-key`.

use std::rc::Rc;
use std::time::Duration;

use outrigger_certs::files::{Files, FilesError, Watched, is_open};
use outrigger_certs::problem::Problem;
use outrigger_certs::svid::Svid;
use outrigger_snapshot::name::ServiceName;
use rustls_pki_types::UnixTime;
use tokio::time::{MissedTickBehavior, interval};

use crate::identity::{Keeper, Trouble};
use crate::source::chain;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Source {
    files: Files,
    watched: Watched,
    keeper: Rc<Keeper>,
    /// The newest, if the mesh does not believe it and believes the one in force: written by half, perhaps, or of an authority that is not
    /// pushed yet.
    unbelieved: Option<Svid>,
}

impl Source {
    /// Reads the files.
    pub(super) fn open(files: Files, service: ServiceName, keeper: Rc<Keeper>) -> Result<Self, FilesError> {
        let watched = Watched::new(files.clone(), service);
        let mut source = Self { watched, files, keeper, unbelieved: None };
        if is_open(&source.files.key) {
            tracing::warn!(file = %source.files.key.display(), "others than its owner may read the key of the certificate");
        }
        if let Some(looked) = source.watched.look(UnixTime::now()) {
            source.keeper.install(looked?);
        }
        Ok(source)
    }

    /// Looks at them again and again.
    pub(super) async fn run(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look(UnixTime::now());
        }
    }

    /// Takes what is new in the files; what cannot be used changes nothing.
    fn look(&mut self, now: UnixTime) {
        match self.watched.look(now) {
            Some(Ok(svid)) => match self.keeper.worsens(&svid, now) {
                None => self.install(svid),
                Some(problem) => {
                    self.keeper.refuse(self.unbelieved(problem));
                    self.unbelieved = Some(svid);
                }
            },
            Some(Err(error)) => {
                self.unbelieved = None;
                self.keeper.refuse(Trouble { reason: error.code().to_owned(), why: chain(&error) });
            }
            None => {
                if let Some(svid) = self.unbelieved.take_if(|svid| self.keeper.worsens(svid, now).is_none()) {
                    self.install(svid);
                }
            }
        }
    }

    fn install(&mut self, svid: Svid) {
        self.unbelieved = None;
        self.keeper.install(svid);
    }

    fn unbelieved(&self, problem: Problem) -> Trouble {
        let file = self.files.certificate.display();
        let why = format!(
            "{file} is not believed by the mesh ({problem}), and the one in force is: push the Mesh with both authorities first"
        );
        Trouble { reason: problem.code().to_owned(), why }
    }
}
