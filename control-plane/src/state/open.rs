//! Opening a store for writing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_snapshot::keys::{KeyError, PublicKey, SigningKey};
use outrigger_store::reader::ReadError;
use outrigger_store::write::keyfile::{self, KeyFileError};
use outrigger_store::write::{Publisher, WriteError};
use outrigger_store::{OpenError, Store, StoreError};
use rustls_pki_types::UnixTime;

use super::{ControlPlane, Known, Memory, MemoryError, MeshError, now_ms};
use crate::bootstrap::Bootstrap;
use crate::enrol::{EnrolError, Enrolment};

/// How often a mesh that several processes are making at once is tried to be joined.
const FOUND_TRIES_MAX: usize = 8;

/// What a control plane is made of.
#[derive(Debug)]
pub struct Settings {
    /// The store.
    pub store: Store,
    /// How often the loop turns.
    pub interval: Duration,
    /// The signing key's file; without it, the one beside a folder store.
    pub signing_key: Option<PathBuf>,
    /// Further keys whose revisions are believed.
    pub trusted: Vec<PublicKey>,
    /// Where to remember the highest that was seen.
    pub memory: Option<Memory>,
    /// Whether a store that ignores create-if-absent will do.
    pub single_writer: bool,
    /// The authority that makes certificates for sidecars, if this is to be one.
    pub enrolment: Option<Arc<Enrolment>>,
}

/// Why a store isn't used.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// The URL.
    #[error(transparent)]
    Url(Box<OpenError>),
    /// A key of `--trust-key`.
    #[error("{text:?} (--trust-key) is no public key")]
    TrustKey {
        /// What was given.
        text: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A bucket without a key.
    #[error(
        "{0} needs a signing key (--signing-key FILE), the same for all replicas; make one with `outrigger keys new`, and a mesh \
         with `outrigger store init`"
    )]
    KeyNeeded(String),
    /// A mesh whose key is gone.
    #[error(
        "{place} holds a mesh, but its signing key is not at {}; put it back there, or name it with --signing-key", path.display()
    )]
    KeyLost {
        /// The store.
        place: String,
        /// Where the key was looked for.
        path: PathBuf,
    },
    /// The signing key's file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The authority of `--ca`.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The state folder.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The store, or what is remembered of it.
    #[error(transparent)]
    Store(#[from] Box<WriteError>),
    /// The store lets two writers overwrite each other.
    #[error("{source}. If this is the only writer there will ever be, say so with --single-writer")]
    ConditionIgnored {
        /// Which.
        source: Box<WriteError>,
    },
}

impl From<OpenError> for OpenFailure {
    fn from(error: OpenError) -> Self {
        Self::Url(Box::new(error))
    }
}

impl From<WriteError> for OpenFailure {
    fn from(error: WriteError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl OpenFailure {
    /// Whether other flags would mend it.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Url(_) | Self::TrustKey { .. } | Self::KeyNeeded(_) | Self::Enrol(_))
    }
}

impl ControlPlane {
    /// The control plane that `bootstrap` describes. A store that doesn't answer is no failure: the loop goes on trying.
    ///
    /// # Errors
    /// [`OpenFailure`]: what trying again would not mend.
    pub async fn open(bootstrap: &Bootstrap) -> Result<Self, OpenFailure> {
        let store = Store::open(&bootstrap.store)?;
        let memory = match &bootstrap.state_dir {
            Some(path) => Some(Memory::open(path)?),
            None => Memory::default_for(store.place(), |name| std::env::var_os(name).map(PathBuf::from)),
        };
        if memory.is_none() {
            tracing::warn!(
                "no state folder can be written (--state-dir): a store that was lost can't be told from a new one"
            );
        }
        let folder = bootstrap.ca.clone();
        let enrolment =
            folder.map(|folder| Enrolment::open(folder, bootstrap.certificate_lifetime, UnixTime::now()));
        let enrolment = enrolment.transpose()?.map(Arc::new);
        let settings = Settings {
            interval: bootstrap.interval_for(store.folder().is_some()),
            store,
            signing_key: bootstrap.signing_key.clone(),
            trusted: trusted(&bootstrap.trust_key)?,
            memory,
            single_writer: bootstrap.single_writer,
            enrolment,
        };
        Self::with(settings).await
    }

    /// A control plane made of `settings`.
    ///
    /// # Errors
    /// [`OpenFailure`]: what trying again would not mend.
    pub async fn with(settings: Settings) -> Result<Self, OpenFailure> {
        let control_plane = Self {
            store: settings.store,
            interval: settings.interval,
            signing_key: settings.signing_key,
            trusted: settings.trusted,
            state: settings.memory.as_ref().map(|memory| memory.dir.clone()),
            _memory: settings.memory,
            single_writer: settings.single_writer,
            proven: AtomicBool::new(false),
            publisher: tokio::sync::Mutex::default(),
            known: std::sync::Mutex::new(Known::default()),
            reports: std::sync::Mutex::default(),
            started_ms: now_ms(),
            metrics: crate::server::Metrics::default(),
            wake: tokio::sync::Notify::new(),
            enrolment: settings.enrolment,
        };
        match control_plane.key_path() {
            None => return Err(OpenFailure::KeyNeeded(control_plane.store.place().to_owned())),
            Some(path) => match keyfile::read(&path) {
                Ok(key) => {
                    if let Some(exposure) = keyfile::exposure(&path) {
                        tracing::warn!("{exposure}");
                    }
                    control_plane.start(key).await?;
                }
                Err(KeyFileError::Absent(_)) if control_plane.signing_key.is_none() => {
                    control_plane.check_keyless(path).await?;
                }
                Err(error) => return Err(error.into()),
            },
        }
        Ok(control_plane)
    }

    /// The file of the signing key: the one that was named, or the one beside a folder store.
    pub(super) fn key_path(&self) -> Option<PathBuf> {
        self.signing_key.clone().or_else(|| self.store.folder().map(keyfile::beside))
    }

    /// Uses `key`, and finds out whether the store does what the protocol rests on. One that doesn't answer yet is tried out
    /// at a later turn.
    async fn start(&self, key: SigningKey) -> Result<(), OpenFailure> {
        let mut place = self.publisher.lock().await;
        let publisher = self.adopt(key, &mut place)?;
        match self.prove(publisher).await {
            Ok(()) => Ok(()),
            Err(source @ WriteError::ConditionIgnored(_)) => {
                Err(OpenFailure::ConditionIgnored { source: Box::new(source) })
            }
            Err(error) => {
                let error = crate::causes::with_causes("", &error);
                tracing::warn!("the store couldn't be tried out, going on: {error}");
                Ok(())
            }
        }
    }

    /// Signs with `key` from now on.
    fn adopt<'a>(
        &self,
        key: SigningKey,
        place: &'a mut Option<Publisher>,
    ) -> Result<&'a mut Publisher, Box<WriteError>> {
        let public = key.public();
        let trusted = self.trusted.iter().copied();
        let publisher = Publisher::new(self.store.clone(), vec![key], trusted, self.state.clone())?;
        self.known().key = Some(public);
        Ok(place.insert(publisher))
    }

    /// Tries out, once, whether two writers could overwrite each other in this store.
    pub(super) async fn prove(&self, publisher: &Publisher) -> Result<(), WriteError> {
        if self.proven.load(Ordering::Relaxed) {
            return Ok(());
        }
        match publisher.probe().await {
            Ok(()) => {}
            // No folder yet: the first push makes it, and then it is tried out.
            Err(WriteError::Store(StoreError::FolderMissing(_))) => return Ok(()),
            Err(WriteError::ConditionIgnored(place)) if self.single_writer => {
                tracing::warn!(
                    "{place} ignores create-if-absent: a second writer would destroy this mesh's history"
                );
            }
            Err(error) => return Err(error),
        }
        self.proven.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A store that has a mesh needs the mesh's key, not a new one.
    async fn check_keyless(&self, path: PathBuf) -> Result<(), OpenFailure> {
        match self.store.public_keys().await {
            Ok(_) => Err(OpenFailure::KeyLost { place: self.store.place().to_owned(), path }),
            Err(ReadError::Empty(_) | ReadError::Store(StoreError::FolderMissing(_))) => {
                // Memory of a mesh without its key: the store is lost, and the key with it.
                match self.state.as_ref().map(|state| state.load()).transpose().map_err(WriteError::from)? {
                    Some(Some(seen)) => Err(WriteError::Emptied {
                        place: self.store.place().to_owned(),
                        mesh: seen.mesh,
                        seen: seen.revision,
                    }
                    .into()),
                    _ => Ok(()),
                }
            }
            Err(error) => Err(WriteError::from(error).into()),
        }
    }

    /// The publisher, once there is a key: another process may have made it meanwhile.
    pub(super) fn find_publisher<'a>(
        &self,
        place: &'a mut Option<Publisher>,
    ) -> Result<Option<&'a mut Publisher>, MeshError> {
        if place.is_none()
            && let Some(path) = self.key_path()
        {
            match keyfile::read(&path) {
                Ok(key) => {
                    self.adopt(key, place)?;
                }
                Err(KeyFileError::Absent(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(place.as_mut())
    }

    /// The publisher of a mesh that is there in any case: made now if this is a folder store and nothing was. `notes`: what
    /// people should know of that.
    pub(super) async fn founded<'a>(
        &self,
        place: &'a mut Option<Publisher>,
        notes: &mut Vec<String>,
    ) -> Result<&'a mut Publisher, MeshError> {
        if self.find_publisher(place)?.is_none() {
            let path = self.key_path().ok_or(WriteError::NoKey)?;
            match keyfile::create(&path) {
                Ok(key) => {
                    notes
                        .push(format!("made a signing key: {} (back it up, keep it secret)", path.display()));
                    self.adopt(key, place)?;
                }
                Err(KeyFileError::Exists(_)) => {
                    self.adopt(keyfile::read(&path)?, place)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let publisher = place.as_mut().ok_or(WriteError::NoKey)?;
        if self.store.folder().is_some() {
            found(publisher, self.store.folder(), notes).await?;
        }
        self.prove(publisher).await?;
        Ok(publisher)
    }
}

/// Makes a mesh in a folder that has none. Of several processes that do so at once, one does, and the others join.
async fn found(
    publisher: &mut Publisher,
    folder: Option<&Path>,
    notes: &mut Vec<String>,
) -> Result<(), WriteError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match publisher.head().await {
            Err(WriteError::NoMesh(_)) => {}
            Err(error) if is_missing_folder(&error) && publisher.high_water().is_none() => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
        match publisher.init(now_ms()).await {
            Ok(epoch) => {
                let folder = folder.map(|folder| folder.display().to_string()).unwrap_or_default();
                notes.push(format!("made a new mesh in {folder}: {}", epoch.mesh));
                return Ok(());
            }
            Err(WriteError::MeshExists { .. } | WriteError::InitContended(_)) if tries < FOUND_TRIES_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether there is no folder where the store should be.
pub(super) fn is_missing_folder(error: &WriteError) -> bool {
    matches!(
        error,
        WriteError::Store(StoreError::FolderMissing(_))
            | WriteError::Read(ReadError::Store(StoreError::FolderMissing(_)))
    )
}

/// The keys of `--trust-key`.
pub(crate) fn trusted(texts: &[String]) -> Result<Vec<PublicKey>, OpenFailure> {
    let key =
        |text: &String| text.parse().map_err(|source| OpenFailure::TrustKey { text: text.clone(), source });
    texts.iter().map(key).collect()
}
