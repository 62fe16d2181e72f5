//! Writes to a store the way a control plane does, and says on standard output what the store has acknowledged.
//!
//! `store-writer push STORE KEY ROUNDS` pushes and publishes; `store-writer stop STORE KEY` publishes the newest revision, and
//! stops itself (SIGSTOP) between reading the store and creating the release.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use outrigger_snapshot::record::Serial;
use outrigger_store::write::{Compiled, Draft, Publisher, ScopeContent, WriteError, keyfile};
use outrigger_store::{Store, StoreError};
use rustix::process::{Signal, getpid, kill_process};

/// Bytes of the largest resource that is pushed.
const FILLER_BYTES_MAX: u64 = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["push", store, key, rounds] => push(Store::open(store)?, Path::new(key), rounds.parse()?).await,
        ["stop", store, key] => stop(store, Path::new(key)).await,
        _ => Err("usage: store-writer push STORE KEY ROUNDS | stop STORE KEY".into()),
    }
}

async fn push(store: Store, key: &Path, rounds: u64) -> Result<(), Box<dyn Error>> {
    let mut publisher = Publisher::new(store, vec![keyfile::read(key)?], [], None)?;
    match publisher.head().await {
        Ok(_) => {}
        Err(WriteError::NoMesh(_) | WriteError::Store(StoreError::FolderMissing(_))) => {
            publisher.init(now_ms()).await?;
        }
        Err(error) => return Err(error.into()),
    }
    for _ in 0..rounds {
        let base = publisher.head().await?.revision_number();
        let filler = filler(base);
        let draft = Draft {
            resources: vec![serde_json::json!({"filler": filler})],
            author: "store-writer".to_owned(),
            ..Draft::default()
        };
        let revision = publisher.push_revision(base, draft, now_ms()).await?.serial;
        acknowledge("revision", revision)?;
        let published = publisher.publish(&compiled(revision.n), revision, 1, now_ms()).await?;
        if let outrigger_store::write::Published::Released(release) = published {
            acknowledge("release", release.serial)?;
        }
        publisher.heartbeat(now_ms()).await?;
    }
    Ok(())
}

async fn stop(store: &str, key: &Path) -> Result<(), Box<dyn Error>> {
    let root = ObjectPath::from_absolute_path(store)?;
    let store = Store::on_bucket(store.to_owned(), root, Arc::new(Stopping(LocalFileSystem::new())));
    let mut publisher = Publisher::new(store, vec![keyfile::read(key)?], [], None)?;
    let revision = publisher.head().await?.revision.ok_or("nothing was pushed")?.serial;
    let published = publisher.publish(&compiled(revision.n), revision, 1, now_ms()).await?;
    println!("outcome {published:?}");
    Ok(())
}

/// Written in one piece, so that a trace of system calls shows it in one place.
fn acknowledge(what: &str, serial: Serial) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("acknowledged {what} {} {}\n", serial.epoch, serial.n).as_bytes())?;
    out.flush()
}

fn compiled(n: u64) -> Compiled {
    let content = ScopeContent {
        policy: format!("{{\"policy\":\"{}\"}}", filler(n)).into_bytes(),
        facts: b"{\"facts\":1}".to_vec(),
    };
    Compiled::new(1, "cart".parse().map(|scope| BTreeMap::from([(scope, content)])).unwrap_or_default())
}

/// Text that does not compress well, of a length between nothing and many pages.
fn filler(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let length = state % FILLER_BYTES_MAX;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 59) as u8 % 26)
        })
        .collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A folder that stops the whole process before it creates its first release.
#[derive(Debug)]
struct Stopping(LocalFileSystem);

impl fmt::Display for Stopping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Stopping({})", self.0)
    }
}

#[async_trait]
impl ObjectStore for Stopping {
    async fn put_opts(
        &self,
        path: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        if path.as_ref().contains("/releases/") {
            kill_process(getpid(), Signal::STOP).map_err(|source| object_store::Error::Generic {
                store: "Stopping",
                source: source.into(),
            })?;
        }
        self.0.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &ObjectPath, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
