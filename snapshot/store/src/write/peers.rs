//! What replicas have counted of callers, and left in the store for each other.

use outrigger_snapshot::facts::PeerCounts;
use outrigger_snapshot::record::Release;

use super::{CountedPeers, Publisher, WriteError};
use crate::reader::ReadError;

impl Publisher {
    /// The counts of callers that `release` was made with; `None` if nobody had counted. Counts that are gone from the store, or that
    /// can't be read, are empty ones: they are counted again.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn peers(&mut self, release: &Release) -> Result<Option<CountedPeers>, WriteError> {
        let Some(peers) = release.peers else { return Ok(None) };
        let known = self.peers.as_ref().filter(|(object, _)| *object == peers.counts);
        let counts = match known {
            Some((_, counts)) => counts.clone(),
            None => match self.store.object(&peers.counts).await {
                Ok(content) => serde_json::from_slice(&content).unwrap_or_default(),
                Err(ReadError::ObjectMissing(_) | ReadError::Refused(_)) => PeerCounts::default(),
                Err(error) => return Err(error.into()),
            },
        };
        self.peers = Some((peers.counts, counts.clone()));
        Ok(Some(CountedPeers { time_ms: peers.time_ms, counts }))
    }
}
