//! A mesh in a folder, and processes that follow it: each is a source with somebody who builds plans.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_proxy::config::StateFolder;
use outrigger_proxy::source::{Settings, Source, StartError, Started, Status, UPDATES_MAX, Update, View};
use outrigger_proxy::state_dir::StateDir;
use outrigger_snapshot::canonical;
use outrigger_snapshot::facts::{Cluster, Discovery, Endpoint, Facts, TlsMode};
use outrigger_snapshot::keys::{PublicKey, SigningKey};
use outrigger_snapshot::policy::{Backend, Policy, Port, Protocol, SCHEMA, Service};
use outrigger_store::Store;
use outrigger_store::write::{Compiled, Draft, Publisher, ScopeContent};
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

const POLL: Duration = Duration::from_millis(100);
/// Of the paused clock, which runs as fast as the work allows.
const DEADLINE: Duration = Duration::from_secs(300);

/// Waits for something that other tasks bring about.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "it did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A policy of some services.
pub(crate) fn policy(services: &[&str]) -> Vec<u8> {
    let port = Port {
        name: "http".to_owned(),
        port: 80,
        target_port: 80,
        protocol: Protocol::Http,
        rules: Vec::new(),
        connections: Vec::new(),
        inbound: None,
        proxy_protocol: None,
        backend: Backend::defaults_for(Protocol::Http),
    };
    let service = Service { mtls: None, hosts: Vec::new(), ports: vec![port] };
    let services = services.iter().map(|name| (name.parse().unwrap(), service.clone())).collect();
    canonical::encode(&Policy { schema: SCHEMA, features: BTreeSet::new(), services, gateway: None }).unwrap()
}

/// Facts of one cluster with some endpoints.
pub(crate) fn facts(endpoints: u16) -> Vec<u8> {
    let endpoint = |port| Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], 9_000 + port)),
        weight: 1,
        zone: None,
        tls: TlsMode::None,
    };
    let cluster = Cluster {
        discovery: Discovery::Static((0..endpoints).map(endpoint).collect()),
        peers: 16,
        seats: Default::default(),
        tls: None,
    };
    let clusters = BTreeMap::from([("cart:80".parse().unwrap(), cluster)]);
    canonical::encode(&Facts {
        trust: None,
        authorities: Default::default(),
        schema: SCHEMA,
        features: BTreeSet::new(),
        clusters,
    })
    .unwrap()
}

/// See the module.
pub(crate) struct Mesh {
    folder: TempDir,
    key: SigningKey,
    revision: u64,
}

impl Mesh {
    /// A store with a mesh and no revision.
    pub(crate) async fn new() -> Self {
        let mesh =
            Self { folder: tempfile::tempdir().unwrap(), key: SigningKey::generate().unwrap(), revision: 0 };
        mesh.publisher(&mesh.store()).init(now_ms()).await.unwrap();
        mesh
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder().join("store")
    }

    pub(crate) async fn publish(&mut self, policy: Vec<u8>, facts: Vec<u8>) {
        self.release(&self.store(), "cart", policy, facts, false).await;
    }

    pub(crate) async fn publish_shrunk(&mut self, policy: Vec<u8>, facts: Vec<u8>) {
        self.release(&self.store(), "cart", policy, facts, true).await;
    }

    pub(crate) async fn publish_for(&mut self, scope: &str, policy: Vec<u8>, facts: Vec<u8>) {
        self.release(&self.store(), scope, policy, facts, false).await;
    }

    pub(crate) async fn publish_into(&mut self, store: &Path, policy: Vec<u8>, facts: Vec<u8>) {
        self.release(store, "cart", policy, facts, false).await;
    }

    pub(crate) fn objects(&self) -> Vec<OsString> {
        Self::objects_in(&self.store()).iter().map(|path| path.file_name().unwrap().to_owned()).collect()
    }

    pub(crate) fn objects_in(store: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(store.join("objects")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// A process that trusts the mesh's key; its state is that of the one before.
    pub(crate) fn process(&self) -> Process {
        self.process_trusting(vec![self.key.public()])
    }

    pub(crate) fn process_trusting(&self, keys: Vec<PublicKey>) -> Process {
        self.process_of("state", POLL, keys)
    }

    pub(crate) fn process_at(&self, state: &str) -> Process {
        self.process_of(state, POLL, vec![self.key.public()])
    }

    pub(crate) fn process_polling(&self, poll: Duration) -> Process {
        self.process_of("state", poll, vec![self.key.public()])
    }

    fn process_of(&self, state: &str, poll: Duration, trust_keys: Vec<PublicKey>) -> Process {
        let folder = StateFolder { path: self.folder().join(state), persistent: true };
        let state = Arc::new(StateDir::open(&folder, "test").unwrap());
        let (updates, received) = mpsc::channel(UPDATES_MAX);
        let settings =
            Settings { service: "cart".parse().unwrap(), node: "node-1".to_owned(), poll, trust_keys };
        let poll_now = Arc::new(Notify::new());
        let source =
            Source::new(open(&self.store()), settings, state.clone(), updates, poll_now.clone()).unwrap();
        let built = Arc::new(Built { refused_services: AtomicUsize::new(usize::MAX), ..Built::default() });
        let builder = tokio::spawn(build(received, built.clone()));
        Process {
            status: source.status(),
            source: Some(source),
            state,
            poll_now,
            built,
            tasks: vec![builder],
        }
    }

    fn publisher(&self, store: &Path) -> Publisher {
        let key = SigningKey::from_pem(&self.key.to_pem().unwrap()).unwrap();
        Publisher::new(open(store), vec![key], [], None).unwrap()
    }

    async fn release(
        &mut self,
        store: &Path,
        scope: &str,
        policy: Vec<u8>,
        facts: Vec<u8>,
        allow_shrink: bool,
    ) {
        let mut publisher = self.publisher(store);
        let draft = Draft { allow_shrink, ..Draft::default() };
        let revision = publisher.push_revision(self.revision, draft, now_ms()).await.unwrap();
        self.revision += 1;
        let scopes = BTreeMap::from([(scope.parse().unwrap(), ScopeContent { policy, facts })]);
        publisher.publish(&Compiled::new(SCHEMA, scopes), revision.serial, 1, now_ms()).await.unwrap();
        publisher.heartbeat(now_ms()).await.unwrap();
    }
}

/// A source with somebody who builds plans.
pub(crate) struct Process {
    source: Option<Source>,
    status: Arc<Status>,
    state: Arc<StateDir>,
    poll_now: Arc<Notify>,
    built: Arc<Built>,
    tasks: Vec<JoinHandle<()>>,
}

/// What was built.
#[derive(Default)]
struct Built {
    last: Mutex<Option<Applied>>,
    count: AtomicUsize,
    refused_services: AtomicUsize,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
}

impl Process {
    /// Starts, and follows the store from then on.
    pub(crate) async fn start(&mut self) -> Result<Started, StartError> {
        let mut source = self.source.take().expect("a process starts once");
        let started = source.start().await?;
        self.tasks.push(tokio::spawn(source.run(started)));
        Ok(started)
    }

    /// Its sudden death, and its lock with it.
    pub(crate) async fn die(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }

    pub(crate) fn applied(&self) -> Applied {
        self.built.last.lock().unwrap().expect("something runs")
    }

    pub(crate) fn is_running(&self) -> bool {
        self.built.last.lock().unwrap().is_some()
    }

    pub(crate) fn applied_count(&self) -> usize {
        self.built.count.load(Relaxed)
    }

    /// No plan is built from so many services.
    pub(crate) fn refuse_services(&self, services: usize) {
        self.built.refused_services.store(services, Relaxed);
    }

    pub(crate) fn view(&self) -> View {
        self.status.view()
    }

    pub(crate) fn state(&self) -> Arc<StateDir> {
        Arc::clone(&self.state)
    }

    pub(crate) fn poll_now(&self) {
        self.poll_now.notify_one();
    }
}

async fn build(mut updates: mpsc::Receiver<Update>, built: Arc<Built>) {
    while let Some(update) = updates.recv().await {
        let services = update.policy.services.len();
        let endpoints = update.facts.clusters.values().map(|cluster| match &cluster.discovery {
            Discovery::Static(endpoints) => endpoints.len(),
            Discovery::Dns(_) | Discovery::Srv(_) => 1,
        });
        let applied = Applied { services, endpoints: endpoints.sum() };
        let answer = if services == built.refused_services.load(Relaxed) {
            Err("so many services can't be built".to_owned())
        } else {
            *built.last.lock().unwrap() = Some(applied);
            built.count.fetch_add(1, Relaxed);
            Ok(())
        };
        let _ = update.answer.send(answer);
    }
}

fn open(store: &Path) -> Store {
    Store::open(store.to_str().unwrap()).unwrap()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
