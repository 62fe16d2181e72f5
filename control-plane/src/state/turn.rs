//! One turn of the loop.

use std::sync::Arc;
use std::time::Instant;

use outrigger_snapshot::record::Release;
use outrigger_store::write::{
    Collected, Compiled, CountedPeers, Head, Keep, Published, Publisher, WriteError, keyfile,
};

use super::open::is_missing_folder;
use super::{ControlPlane, MeshError, computed, draft, now_ms};
use crate::compile::COMPILER_VERSION;
use crate::peers;

/// What a turn has done.
#[derive(Debug)]
pub enum Turned {
    /// There is nothing yet that could be published.
    Nothing,
    /// A new release.
    Released(Arc<Release>),
    /// What is published is right already.
    Unchanged(Arc<Release>),
    /// So it is, but the store had lost so many of its objects; they are there again.
    Restored(Arc<Release>, usize),
}

impl ControlPlane {
    /// Reads, compiles, publishes and beats, once. Its failures are remembered for those who ask, and the next turn starts
    /// over.
    pub async fn turn(&self) {
        let started = Instant::now();
        let outcome = self.publish().await;
        self.metrics.turns.increment();
        self.metrics.turn_microseconds.set(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        let trouble = match outcome {
            Ok(Turned::Released(release)) => {
                tracing::info!(release = %release.serial, revision = release.revision, "published");
                None
            }
            Ok(Turned::Restored(release, objects)) => {
                tracing::warn!(release = %release.serial, objects, "the store had lost objects of this release; stored again");
                None
            }
            Ok(Turned::Nothing | Turned::Unchanged(_)) => None,
            Err(error) => Some(crate::causes::with_causes("", &error)),
        };
        self.metrics.ready.set(u64::from(trouble.is_none()));
        let mut known = self.known();
        if known.trouble != trouble {
            match &trouble {
                Some(trouble) => tracing::error!("not publishing: {trouble}"),
                None if known.turned_ms != 0 => tracing::info!("publishing again"),
                None => {}
            }
        }
        if trouble.is_some() {
            self.metrics.failures.increment();
        }
        known.trouble = trouble;
        known.turned_ms = now_ms();
    }

    /// Publishes the newest revision if it isn't, and writes the heartbeat whether or not it is.
    ///
    /// # Errors
    /// [`MeshError`]; what is published stays as it was.
    pub async fn publish(&self) -> Result<Turned, MeshError> {
        let Some(head) = self.head().await? else { return Ok(Turned::Nothing) };
        let published = self.publish_head(&head).await;
        let beaten = self.beat().await;
        let turned = published?;
        beaten?;
        Ok(turned)
    }

    /// Removes from the store what nothing needs any more. While something is wrong with the store, nothing is removed.
    pub async fn collect(&self) {
        if self.trouble().is_some() {
            return;
        }
        match self.collected().await {
            Ok(gone) => {
                let count = gone.releases + gone.objects + gone.leftovers;
                self.metrics.collected.add(count as u64);
                if count > 0 {
                    tracing::info!(
                        releases = gone.releases,
                        objects = gone.objects,
                        leftovers = gone.leftovers,
                        "removed from the store what nothing needs any more"
                    );
                }
            }
            Err(error) => {
                self.metrics.collection_failures.increment();
                let error = crate::causes::with_causes("", &error);
                tracing::warn!("could not remove from the store what nothing needs any more: {error}");
            }
        }
    }

    /// By a publisher of its own: it may take long, and nobody's push should wait for it.
    async fn collected(&self) -> Result<Collected, MeshError> {
        let has_mesh = self.known().head.is_some();
        let Some(path) = self.key_path().filter(|_| has_mesh) else { return Ok(Collected::default()) };
        let trusted = self.trusted.iter().copied();
        let mut publisher = Publisher::new(self.store.clone(), vec![keyfile::read(&path)?], trusted, None)?;
        Ok(publisher.collect(Keep::default(), now_ms()).await?)
    }

    /// What is newest; `None` while nothing was pushed.
    async fn head(&self) -> Result<Option<Head>, MeshError> {
        let mut place = self.publisher.lock().await;
        let Some(publisher) = self.find_publisher(&mut place)? else { return Ok(None) };
        let head = match publisher.head().await {
            Err(WriteError::NoMesh(_)) if self.store.folder().is_some() => return Ok(None),
            Err(error) if is_missing_folder(&error) && publisher.high_water().is_none() => return Ok(None),
            other => other?,
        };
        self.prove(publisher).await?;
        self.learn(&head);
        Ok(Some(head))
    }

    async fn publish_head(&self, head: &Head) -> Result<Turned, MeshError> {
        // A mesh without a revision has nothing to run: to publish that would empty every proxy.
        let Some(revision) = head.revision.clone() else { return Ok(Turned::Nothing) };
        let serial = revision.serial;
        let (published, seen, now_ms) = (self.published_peers(head).await?, self.seen(), now_ms());
        let compiled = computed(move || {
            let compiled = draft::compiled(&revision.resources);
            let mut compiled =
                compiled.map_err(|problems| MeshError::Outdated { revision: serial.n, problems })?;
            let peers = peers::next(published.as_ref(), &seen, &compiled, now_ms).or(published);
            if let Some(peers) = &peers {
                compiled.count_peers(&peers.counts);
            }
            Ok::<_, MeshError>(Compiled { peers, ..draft::encoded(&compiled)? })
        })
        .await??;
        let mut place = self.publisher.lock().await;
        let publisher = self.find_publisher(&mut place)?.ok_or(WriteError::NoKey)?;
        let published = publisher.publish(&compiled, serial, COMPILER_VERSION, now_ms).await?;
        let head = publisher.head().await?;
        self.learn(&head);
        match published {
            Published::Released(release) => {
                self.metrics.publishes.increment();
                Ok(Turned::Released(release))
            }
            Published::Identical(release) | Published::Superseded(release) => Ok(Turned::Unchanged(release)),
            Published::Restored(release, objects) => {
                self.metrics.restored.add(objects as u64);
                Ok(Turned::Restored(release, objects))
            }
            Published::Rejected(release) => Err(MeshError::Rejected(release.revision)),
            // Recovered meanwhile: the next turn reads the new epoch.
            Published::EpochOver(_) => {
                head.release.map_or(Ok(Turned::Nothing), |release| Ok(Turned::Unchanged(release)))
            }
        }
    }

    /// The counts of callers in the newest release.
    async fn published_peers(&self, head: &Head) -> Result<Option<CountedPeers>, MeshError> {
        let Some(release) = &head.release else { return Ok(None) };
        let mut place = self.publisher.lock().await;
        let publisher = self.find_publisher(&mut place)?.ok_or(WriteError::NoKey)?;
        Ok(publisher.peers(release).await?)
    }

    /// What proxies tell this replica of whom they call.
    fn seen(&self) -> peers::Seen {
        let reports = self.reports();
        peers::Seen { callers: reports.callers(now_ms()), known: reports.known(), since_ms: self.started_ms }
    }

    async fn beat(&self) -> Result<(), MeshError> {
        let mut place = self.publisher.lock().await;
        if let Some(publisher) = self.find_publisher(&mut place)? {
            let now = now_ms();
            publisher.heartbeat(now).await?;
            if self.metrics.release.read() > 0 {
                self.known().beaten_ms = now;
                self.metrics.heartbeat.set(now);
            }
        }
        Ok(())
    }
}
