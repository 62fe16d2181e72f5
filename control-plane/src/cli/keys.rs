//! `keys`: signing keys.

mod announce;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use outrigger_store::write::keyfile;

use super::output::{self, Exit, Failed};

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a signing key
    #[command(
        after_help = "The file is readable by its owner only and never overwritten. Who has it decides what every proxy runs: \
                            keep it out of the store, and back it up.\n\nExample:\n  outrigger keys new mesh.key"
    )]
    New(New),
    /// Show the public keys of signing keys, or those that a store offers
    #[command(after_help = "Examples:\n  outrigger keys list mesh.key\n  outrigger keys list --store ./mesh")]
    List(List),
    /// Tell proxies which public keys to believe from the next release on
    #[command(
        after_help = "To change the signing key: announce the old and the new one, change it everywhere, announce the new one \
                            alone (docs/OPERATIONS.md).\n\nExamples:\n  \
                            outrigger keys announce --store ./mesh --signing-key old.key ed25519:OLD ed25519:NEW\n  \
                            outrigger keys announce --store ./mesh --signing-key new.key --signing-key old.key ed25519:NEW"
    )]
    Announce(announce::Announce),
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// Where to keep it
    #[arg(value_name = "FILE", env = "OUTRIGGER_SIGNING_KEY")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Signing keys
    #[arg(value_name = "FILE", required_unless_present = "store")]
    files: Vec<PathBuf>,
    /// A store, whose public keys are shown
    #[arg(long, value_name = "URL", env = "OUTRIGGER_STORE")]
    store: Option<String>,
}

impl Keys {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::New(new) => new.run(),
            Self::List(list) => list.run().await,
            Self::Announce(announce) => announce.run().await,
        }
    }
}

impl New {
    fn run(self) -> Result<Exit, Failed> {
        let key = keyfile::create(&self.file).map_err(|error| Failed::problem("", &error))?;
        output::line(&key.public().to_string());
        Ok(Exit::Done)
    }
}

impl List {
    async fn run(self) -> Result<Exit, Failed> {
        let mut rows = Vec::new();
        for path in &self.files {
            let key = keyfile::read(path).map_err(|error| Failed::problem("", &error))?.public();
            rows.push(vec![key.id().to_string(), key.to_string(), path.display().to_string()]);
        }
        if let Some(url) = &self.store {
            let store =
                outrigger_store::Store::open(url).map_err(|error| super::store::url_failed(&error))?;
            let keys = store.public_keys().await.map_err(|error| super::published::read_failed(&error))?;
            rows.extend(keys.iter().map(|key| vec![key.id().to_string(), key.to_string(), url.clone()]));
        }
        output::table(&["ID", "PUBLIC KEY", "FROM"], rows);
        Ok(Exit::Done)
    }
}
