//! `keys announce`: telling proxies which keys to believe from now on.

use std::path::PathBuf;

use clap::Args;
use outrigger_snapshot::keys::{PublicKey, SigningKey, TrustedKeys};
use outrigger_store::Store;
use outrigger_store::write::{Publisher, keyfile};

use super::super::output::{self, Exit, Failed};
use super::super::store::{memory, now_ms, url_failed, write_failed};
use crate::causes::with_causes;
use crate::state::trusted;

#[derive(Debug, Args)]
pub(in crate::cli) struct Announce {
    /// Every public key (ed25519:...) that is to be believed from the next release on; others no longer are
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// The store
    #[arg(long, value_name = "URL", env = "OUTRIGGER_STORE")]
    store: String,
    /// A signing key; repeated, all sign [default on a folder store: <STORE>.key beside it]
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_SIGNING_KEY", value_delimiter = ',')]
    signing_key: Vec<PathBuf>,
    /// Where to remember the newest that was seen of the store
    #[arg(long, value_name = "DIR", env = "OUTRIGGER_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl Announce {
    pub(in crate::cli) async fn run(mut self) -> Result<Exit, Failed> {
        let store = Store::open(&self.store).map_err(|error| url_failed(&error))?;
        if self.signing_key.is_empty() {
            let beside = store.folder().map(keyfile::beside);
            self.signing_key.extend(beside);
        }
        let announced = trusted(&self.keys).map_err(|error| Failed::usage(with_causes("", &error)))?;
        let signing: Vec<SigningKey> = self
            .signing_key
            .iter()
            .map(|path| keyfile::read(path).map_err(|error| Failed::problem("", &error)))
            .collect::<Result<_, _>>()?;
        if !signing.iter().any(|key| announced.contains(&key.public())) {
            return Err(Failed::refused(
                "none of these keys signs here (--signing-key), and who believed them alone would never see a release again; \
                 announce the new keys beside the old one first",
            ));
        }
        let trust = trust_set(&announced)?;
        let state = memory(self.state_dir.as_ref())?.map(|memory| memory.dir);
        let mut publisher =
            Publisher::new(store, signing, announced, state).map_err(|error| write_failed(&error))?;
        let release = publisher.announce(trust, now_ms()).await.map_err(|error| write_failed(&error))?;
        publisher.heartbeat(now_ms()).await.map_err(|error| write_failed(&error))?;
        output::line(&format!("release {} announces {}", release.serial.n, self.keys.join(", ")));
        Ok(Exit::Done)
    }
}

fn trust_set(announced: &[PublicKey]) -> Result<TrustedKeys, Failed> {
    TrustedKeys::new(announced.iter().copied()).map_err(|error| Failed::problem("these keys", &error))
}
