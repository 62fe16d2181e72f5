//! Trying out whether the store honours create-if-absent. Some S3 clones take the condition and ignore it.

use bytes::Bytes;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::AttemptId;

use super::{Publisher, WriteError};
use crate::store::Created;

impl Publisher {
    /// Creates the same object twice. Run it once at start.
    ///
    /// # Errors
    /// [`WriteError::ConditionIgnored`] if the second create won: such a store bears no second writer.
    pub async fn probe(&self) -> Result<(), WriteError> {
        let path = layout::probe(AttemptId::random()?);
        let first = self.store.create(&path, Bytes::from_static(b"first")).await?;
        let second = self.store.create(&path, Bytes::from_static(b"second")).await?;
        let kept = self.store.read(&path, b"second".len()).await?;
        self.store.delete(&path).await?;
        let honoured = (first, second, kept.as_deref()) == (Created::New, Created::Exists, Some(b"first"));
        if honoured { Ok(()) } else { Err(WriteError::ConditionIgnored(self.store.place().to_owned())) }
    }
}
