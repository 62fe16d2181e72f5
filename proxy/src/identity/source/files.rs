//! Files that something else renews: `--identity-cert` and `--identity-key`.

use std::rc::Rc;
use std::time::Duration;

use outrigger_certs::files::{Files, FilesError, Watched};
use rustls_pki_types::UnixTime;
use tokio::time::{MissedTickBehavior, interval};

use crate::identity::Keeper;
use crate::source::chain;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Source {
    watched: Watched,
    keeper: Rc<Keeper>,
}

impl Source {
    /// Reads the files.
    pub(super) fn open(files: Files, keeper: Rc<Keeper>) -> Result<Self, FilesError> {
        let mut source = Self { watched: Watched::new(files), keeper };
        source.look()?;
        Ok(source)
    }

    /// Looks at them again and again.
    pub(super) async fn run(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = self.look() {
                self.keeper.refuse(chain(&error));
            }
        }
    }

    /// Takes what is new in the files; what cannot be used changes nothing.
    fn look(&mut self) -> Result<(), FilesError> {
        if let Some(looked) = self.watched.look(UnixTime::now()) {
            self.keeper.install(looked?);
        }
        Ok(())
    }
}
