//! `publish`, `store`, `gc`: what works on a store itself, with no control plane.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use outrigger_snapshot::keys::SigningKey;
use outrigger_store::Store as Open;
use outrigger_store::reader::ReadError;
use outrigger_store::write::keyfile::{self, KeyFileError};
use outrigger_store::write::{Keep, Publisher, WriteError};
use outrigger_store::{OpenError, StoreError};

use super::files::Files;
use super::output::{self, Exit, Failed};
use super::{Reason, edit};
use crate::api::wire::{Push, Verb};
use crate::bootstrap::FOLDER_INTERVAL;
use crate::causes::with_causes;
use crate::state::{ControlPlane, Memory, MeshError, OpenFailure, Settings, Turned, trusted};

/// Which store, and what to sign with.
#[derive(Debug, Args)]
struct Target {
    /// The store: a folder, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix
    #[arg(long, value_name = "URL", env = "OUTRIGGER_STORE")]
    store: String,

    /// The mesh's signing key [default on a folder store: <STORE>.key beside it]
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_SIGNING_KEY")]
    signing_key: Option<PathBuf>,

    /// Where to remember the newest that was seen of the store
    #[arg(long, value_name = "DIR", env = "OUTRIGGER_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The files are all that the mesh has afterwards: what isn't in them is removed. A folder store needs no \
                        preparation: the first push makes the mesh, and a key beside it.\n\nExamples:\n  \
                        outrigger publish --store ./mesh -f mesh/\n  \
                        outrigger publish --store s3://bucket/mesh --signing-key mesh.key -f mesh.yaml -m \"$(git log -1 --format=%s)\""
)]
pub(super) struct Publish {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    reason: Reason,
    /// A further public key (ed25519:...) whose revisions are accepted; may be repeated
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_TRUST_KEY", value_delimiter = ',')]
    trust_key: Vec<String>,
    /// Publish even to a store that ignores create-if-absent: then this must be the only writer
    #[arg(long, env = "OUTRIGGER_SINGLE_WRITER")]
    single_writer: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Make a new mesh in an empty store
    #[command(
        after_help = "Examples:\n  outrigger keys new mesh.key && outrigger store init --store s3://bucket/mesh --signing-key mesh.key"
    )]
    Init(Init),
    /// Bring a mesh back into a store that lost it, from what a control plane remembers
    #[command(
        after_help = "Stop the control planes first. The newest revision that the state folder knows becomes the first of a new \
                            epoch; proxies of the mesh take it as newer than all before.\n\nExample:\n  \
                            outrigger store recover --store ./mesh --state-dir /var/lib/outrigger"
    )]
    Recover(Recover),
}

#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    target: Target,
    /// Make it even in a store that ignores create-if-absent: then there must never be more than one writer
    #[arg(long, env = "OUTRIGGER_SINGLE_WRITER")]
    single_writer: bool,
}

#[derive(Debug, Args)]
pub(super) struct Recover {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Revisions are kept for ever: they are the history. Run it from time to time, from one place.\n\nExample:\n  \
                        outrigger gc --store s3://bucket/mesh --signing-key mesh.key"
)]
pub(super) struct Gc {
    #[command(flatten)]
    target: Target,
    /// Releases that are kept, whatever their age
    #[arg(long, value_name = "N", default_value_t = 50, env = "OUTRIGGER_KEEP_RELEASES")]
    keep_releases: usize,
    /// Days for which everything is kept
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=3650), env = "OUTRIGGER_KEEP_DAYS")]
    keep_days: u64,
    /// A further public key (ed25519:...) whose releases are read; may be repeated
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_TRUST_KEY", value_delimiter = ',')]
    trust_key: Vec<String>,
}

impl Publish {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let sources = self.files.texts()?;
        let control_plane = self.target.control_plane(&self.trust_key, self.single_writer).await?;
        let push = Push {
            verb: Verb::Replace,
            sources,
            base: None,
            author: self.reason.author(),
            message: self.reason.message,
            allow_shrink: self.reason.allow_shrink,
        };
        let pushed = control_plane.push(push).await.map_err(|error| mesh_failed(&error))?;
        let turned = control_plane.publish().await.map_err(|error| mesh_failed(&error))?;
        match (&turned, pushed.changes.is_empty()) {
            (Turned::Unchanged(release), true) => {
                let (n, revision) = (release.serial.n, pushed.revision);
                output::line(&format!(
                    "nothing changed: release {n} of revision {revision} has this already"
                ));
            }
            _ => edit::tell(&pushed),
        }
        if let Turned::Restored(release, objects) = &turned {
            let n = release.serial.n;
            output::line(&format!(
                "the store had lost {objects} objects of release {n}; they are stored again"
            ));
        }
        if let Turned::Released(release) = &turned {
            let key = control_plane.status().trust_key.unwrap_or_default();
            output::line(&format!(
                "release {} published; proxies trust it with --trust-key {key}",
                release.serial.n
            ));
        }
        Ok(Exit::Done)
    }
}

impl Store {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Init(init) => init.run().await,
            Self::Recover(recover) => recover.run().await,
        }
    }
}

impl Init {
    async fn run(self) -> Result<Exit, Failed> {
        let (mut publisher, made) = self.target.publisher(true, &[])?;
        match publisher.probe().await {
            // No folder yet: it is made with the mesh, and tried out then.
            Err(WriteError::Store(StoreError::FolderMissing(_))) => {}
            tried => judge(tried, self.single_writer)?,
        }
        let epoch = publisher.init(now_ms()).await.map_err(|error| write_failed(&error))?;
        judge(publisher.probe().await, self.single_writer)?;
        if let Some(path) = made {
            output::remark(&format!("made a signing key: {} (back it up, keep it secret)", path.display()));
        }
        output::line(&format!("mesh {}, epoch {}", epoch.mesh, epoch.epoch));
        for key in publisher.trusted().iter() {
            output::line(&format!("trust key {key}"));
        }
        Ok(Exit::Done)
    }
}

impl Recover {
    async fn run(self) -> Result<Exit, Failed> {
        if self.target.state_dir.is_none() {
            return Err(Failed::usage(
                "recovering needs the state folder of a control plane that saw the mesh: --state-dir DIR (its default is below \
                 $STATE_DIRECTORY, $XDG_STATE_HOME/outrigger or ~/.local/state/outrigger)",
            ));
        }
        let (mut publisher, _) = self.target.publisher(false, &[])?;
        let revision = publisher.recover(now_ms()).await.map_err(|error| write_failed(&error))?;
        let count = revision.resources.len();
        output::line(&format!(
            "mesh {} is back: epoch {}, revision {} with {count} resources ({})",
            revision.mesh, revision.serial.epoch, revision.serial.n, revision.message
        ));
        output::line("start a control plane, or run `outrigger publish`, to publish it");
        Ok(Exit::Done)
    }
}

impl Gc {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let (mut publisher, _) = self.target.publisher(false, &self.trust_key)?;
        let age = Duration::from_secs(self.keep_days * 24 * 60 * 60);
        let keep = Keep { releases: self.keep_releases, age };
        let gone = publisher.collect(keep, now_ms()).await.map_err(|error| write_failed(&error))?;
        output::line(&format!(
            "removed {} releases, {} objects and {} leftovers",
            gone.releases, gone.objects, gone.leftovers
        ));
        Ok(Exit::Done)
    }
}

impl Target {
    async fn control_plane(self, trust_keys: &[String], single_writer: bool) -> Result<ControlPlane, Failed> {
        let store = Open::open(&self.store).map_err(|error| url_failed(&error))?;
        if let Some(path) = self.key_path(&store) {
            warn_of_exposure(&path);
        }
        let settings = Settings {
            store,
            interval: FOLDER_INTERVAL,
            signing_key: self.signing_key,
            trusted: trusted(trust_keys).map_err(|error| open_failed(&error))?,
            memory: memory(self.state_dir.as_ref())?,
            single_writer,
            enrolment: None,
        };
        ControlPlane::with(settings).await.map_err(|error| open_failed(&error))
    }

    /// A publisher; if `make` allows it, with a new key beside a folder store that has none, whose file is returned.
    fn publisher(self, make: bool, trust_keys: &[String]) -> Result<(Publisher, Option<PathBuf>), Failed> {
        let store = Open::open(&self.store).map_err(|error| url_failed(&error))?;
        let path = self.key_path(&store).ok_or_else(|| {
            Failed::usage("a bucket needs --signing-key FILE; make one with `outrigger keys new`")
        })?;
        warn_of_exposure(&path);
        let (key, made): (Result<SigningKey, KeyFileError>, _) = match keyfile::read(&path) {
            Err(KeyFileError::Absent(_)) if make && self.signing_key.is_none() => {
                (keyfile::create(&path), Some(path))
            }
            other => (other, None),
        };
        let key = key.map_err(|error| Failed::problem("", &error))?;
        let state = memory(self.state_dir.as_ref())?.map(|memory| memory.dir);
        let trusted = trusted(trust_keys).map_err(|error| open_failed(&error))?;
        let publisher =
            Publisher::new(store, vec![key], trusted, state).map_err(|error| write_failed(&error))?;
        Ok((publisher, made))
    }

    fn key_path(&self, store: &Open) -> Option<PathBuf> {
        self.signing_key.clone().or_else(|| store.folder().map(keyfile::beside))
    }
}

/// What trying out the store has shown.
fn judge(tried: Result<(), WriteError>, single_writer: bool) -> Result<(), Failed> {
    match tried {
        Err(WriteError::ConditionIgnored(_)) if single_writer => Ok(()),
        Err(error @ WriteError::ConditionIgnored(_)) => {
            Err(open_failed(&OpenFailure::ConditionIgnored { source: Box::new(error) }))
        }
        other => other.map_err(|error| write_failed(&error)),
    }
}

fn warn_of_exposure(path: &Path) {
    if let Some(exposure) = keyfile::exposure(path) {
        output::remark(&format!("outrigger: warning: {exposure}"));
    }
}

pub(super) fn memory(path: Option<&PathBuf>) -> Result<Option<Memory>, Failed> {
    path.map(|path| Memory::open(path)).transpose().map_err(|error| Failed::problem("", &error))
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn url_failed(error: &OpenError) -> Failed {
    Failed::usage(with_causes("--store", error))
}

fn open_failed(error: &OpenFailure) -> Failed {
    match error {
        failure if failure.is_usage() => Failed::usage(with_causes("", error)),
        OpenFailure::Store(error) => write_failed(error),
        _ => Failed::problem("", error),
    }
}

fn mesh_failed(error: &MeshError) -> Failed {
    match error {
        MeshError::Store(error) => write_failed(error),
        MeshError::Refused(problems) => {
            for problem in problems {
                output::remark(&problem.to_string());
            }
            Failed::refused("the push was refused; nothing was published")
        }
        _ => Failed::problem("", error),
    }
}

pub(super) fn write_failed(error: &WriteError) -> Failed {
    match error {
        WriteError::Store(source) | WriteError::Read(ReadError::Store(source)) => store_failed(source, error),
        _ => Failed::problem("", error),
    }
}

pub(super) fn store_failed(source: &StoreError, error: &(dyn std::error::Error + 'static)) -> Failed {
    let unreachable = matches!(
        source,
        StoreError::FolderMissing(_) | StoreError::Unreachable { .. } | StoreError::Denied { .. }
    );
    if unreachable { Failed::unreachable("", error) } else { Failed::problem("", error) }
}
