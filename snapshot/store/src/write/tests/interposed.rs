//! A store in memory that loses answers, ignores conditions, or lets someone else go first.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::store::Store;

/// What happens to a put.
pub(crate) enum Fault {
    /// It is done, and nobody hears of it.
    AnswerLost,
    /// It is not done.
    RequestLost,
    /// Something else happens first.
    After(BoxFuture<'static, ()>),
}

#[derive(Default)]
pub(crate) struct Interposed {
    inner: InMemory,
    faults: Mutex<VecDeque<(&'static str, Fault)>>,
    before_read: Mutex<Option<(&'static str, BoxFuture<'static, ()>)>>,
    ignores_conditions: bool,
    pub(crate) reads: Mutex<Vec<String>>,
    pub(crate) lists: AtomicUsize,
    /// Reads that are under way, and the most that were at a time.
    pub(crate) reading: Mutex<(usize, usize)>,
}

impl Interposed {
    pub(crate) fn store() -> (Arc<Self>, Store) {
        Self::default().shared()
    }

    pub(crate) fn lying() -> (Arc<Self>, Store) {
        Self { ignores_conditions: true, ..Self::default() }.shared()
    }

    fn shared(self) -> (Arc<Self>, Store) {
        let own = Arc::new(self);
        let client: Arc<dyn ObjectStore> = Arc::<Self>::clone(&own);
        (own, Store::on_bucket("interposed".to_owned(), Path::from("mesh"), client))
    }

    /// The next put to a path that contains `part` meets `fault`.
    pub(crate) fn next(&self, part: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push_back((part, fault));
    }

    /// Before the next read of a path that contains `part`, `first` happens.
    pub(crate) fn before_read(&self, part: &'static str, first: impl Future<Output = ()> + Send + 'static) {
        *self.before_read.lock().unwrap() = Some((part, Box::pin(first)));
    }

    /// Reads since the last call, of paths that contain `part`.
    pub(crate) fn reads_of(&self, part: &str) -> usize {
        self.reads.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }

    pub(crate) fn forget(&self) {
        self.reads.lock().unwrap().clear();
        self.lists.store(0, Ordering::Relaxed);
    }

    pub(crate) fn lists(&self) -> usize {
        self.lists.load(Ordering::Relaxed)
    }

    fn fault(&self, path: &Path) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let due = faults.front().is_some_and(|(part, _)| path.as_ref().contains(part));
        if due { faults.pop_front().map(|(_, fault)| fault) } else { None }
    }
}

fn lost() -> Error {
    Error::Generic { store: "interposed", source: "timed out".into() }
}

#[async_trait]
impl ObjectStore for Interposed {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let options = if self.ignores_conditions { PutOptions::default() } else { options };
        match self.fault(path) {
            None => self.inner.put_opts(path, payload, options).await,
            Some(Fault::RequestLost) => Err(lost()),
            Some(Fault::AnswerLost) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(lost())
            }
            Some(Fault::After(first)) => {
                first.await;
                self.inner.put_opts(path, payload, options).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.lock().unwrap().push(path.to_string());
        let first = {
            let mut before = self.before_read.lock().unwrap();
            before.take_if(|(part, _)| path.as_ref().contains(*part))
        };
        if let Some((_, first)) = first {
            first.await;
        }
        {
            let mut reading = self.reading.lock().unwrap();
            reading.0 += 1;
            reading.1 = reading.1.max(reading.0);
        }
        // Whoever else wants to read does so meanwhile.
        tokio::task::yield_now().await;
        let read = self.inner.get_opts(path, options).await;
        self.reading.lock().unwrap().0 -= 1;
        read
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Interposed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Interposed")
    }
}

impl fmt::Debug for Interposed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Interposed")
    }
}
