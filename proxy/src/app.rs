//! The composition root: the only file that knows everyone.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use outrigger_certs::files::FilesError;
use outrigger_filters::RateLimits;
use outrigger_snapshot::keys::KeyError;
use outrigger_store::{OpenError, Store};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use self::ending::{told_to_end, until_the_end};
use self::listeners::{Listeners, announce};
use self::telling::{Tellers, serve_admin, server_info, start_reports};
use crate::access_log::writer::{LogError, Writer};
use crate::applier::{Applier, Keepers};
use crate::certificates::Certificates;
use crate::config::{self, Config};
use crate::crew::Crew;
use crate::crew::places::{ConnectionPlaces, raise_descriptors};
use crate::gateway::Ports;
use crate::health_check;
use crate::identity::{self, Keeper};
use crate::listener::BindError;
use crate::logging::Logging;
use crate::memory::{self, Memory};
use crate::otlp::OtlpError;
use crate::overview::Overview;
use crate::plan::{self, Local};
use crate::quarantine::mark_panics;
use crate::rate_limit_store::{self, StoreStatus};
use crate::registry::Registry;
use crate::resolve::{Metrics as ResolveMetrics, ResolveError, Resolver, ResolverConfig};
use crate::signals::{Exit, Signals, Turn, tell};
use crate::source::{Settings, Source, StartError, UPDATES_MAX, end_in_order};
use crate::state_dir::{LastEndpoints, StateDir, StateDirError};
use crate::tap::Desk;
use crate::traces::export::Export;
use crate::trust::Trusted;
use crate::worker::{CurrentPlan, Shared};

mod ending;
mod listeners;
mod telling;

/// How long the start waits for the first answers of DNS, so that the first requests find endpoints.
const WARM_UP_MAX: Duration = Duration::from_secs(2);

/// How often a sidecar that waits for its first plan looks whether it can say that it is ready.
const READY_TICK: Duration = Duration::from_millis(100);

/// How often the start looks whether every name has been asked for.
const WARM_UP_TICK: Duration = Duration::from_millis(20);

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// The store.
    #[error("cannot use --store")]
    Store(#[from] OpenError),
    /// A key.
    #[error("cannot use --trust-key")]
    Key(#[from] KeyError),
    /// Nothing to run.
    #[error(transparent)]
    Start(#[from] StartError),
    /// DNS.
    #[error("cannot set up DNS")]
    Resolve(#[from] ResolveError),
    /// The user.
    #[error(
        "refusing to run as root with --transparent: what root opens cannot be told from what the application does, and would be intercepted again; run \
         this as the user that `outrigger intercept install --proxy-user` names"
    )]
    Root,
    /// The certificate.
    #[error("cannot prove the identity of --identity-cert and --identity-key")]
    Identity(#[from] FilesError),
    /// Where traces go.
    #[error("cannot tell of requests in traces")]
    Traces(#[from] OtlpError),
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] LogError),
    /// The library of TLS.
    #[error("cannot set up TLS")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The system.
    #[error("the system refused a thread, a socket or a signal")]
    System(#[from] std::io::Error),
}

impl AppError {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Bind(_) => Exit::AddressTaken,
            Self::Start(StartError::NoSnapshot { .. }) => Exit::NoSnapshot,
            Self::Key(_)
            | Self::Store(_)
            | Self::Identity(_)
            | Self::Traces(_)
            | Self::AccessLog(_)
            | Self::Root => Exit::Usage,
            Self::State(_) | Self::Resolve(_) | Self::Tls(_) | Self::System(_) => Exit::Failed,
        }
    }
}

/// Runs a proxy until it is told to end; on the control thread's local runtime. Whether it ended in order.
/// `give_back` has the allocator return what is free.
pub async fn run(config: Config, logging: Logging, give_back: fn()) -> Result<bool, AppError> {
    let mut signals = Signals::new()?;
    let state = Arc::new(StateDir::open(&config.state, &format!("{} of {}", config.node, config.service))?);
    mark_panics(state.path());
    let listeners = Listeners::bind(&config)?;
    let store = Store::open(&config.store)?;

    let plan: CurrentPlan = Arc::new(ArcSwapOption::empty());
    let memory = watch_memory(&config, give_back);
    let identity = prove(&config, &state)?;
    let tellers = Tellers::start(&config)?;
    let crew = start_crew(&config, &plan, &memory, &identity, &tellers)?;
    let keepers = keepers(&config, identity, &crew)?;
    let registry = Rc::new(RefCell::new(Registry::new(config.workers.get())));
    let resolver = resolver(&config, &state)?;
    let names = resolver.metrics().clone();

    let (updates, applied) = mpsc::channel(UPDATES_MAX);
    let poll_now = Arc::new(Notify::new());
    let mut source = Source::new(store, Settings::of(&config), state.clone(), updates, poll_now.clone())?;
    let applier = Applier::new(
        plan.clone(),
        local(&config),
        registry.clone(),
        resolver,
        state.clone(),
        keepers.clone(),
        give_back,
    );
    tokio::task::spawn_local(applier.run(applied));
    let checks = Rc::new(health_check::Results::default());
    look_after(&keepers, &plan, &checks);
    let overview = Rc::new(Overview {
        info: server_info(&config, &listeners, &state),
        rate_limit_store: count_together(&config, &registry),
        tellers: tellers.overview(),
        plan,
        keepers,
        status: source.status(),
        usher: crew.usher(),
        registry,
        workers: crew.stats(),
        desk: Desk::new(crew.stats()),
        lineages: crew.lineages().clone(),
        memory,
        names: names.clone(),
        checks,
        phase: crew.phases(),
        drain: Rc::default(),
        shutdown: Rc::default(),
        reports: Default::default(),
        logging,
    });
    start_reports(&config, &listeners, &overview);
    announce(&listeners);
    serve_admin(&listeners, &overview)?;

    let started = tokio::select! {
        started = source.start() => started?,
        () = told_to_end(&mut signals, &overview) => {
            end_in_order(&state);
            tell(Turn::Stopping);
            return Ok(stop(crew, tellers));
        }
    };
    warm_up(&names).await;
    tokio::task::spawn_local(source.run(started));
    let in_order = carry(listeners, &config, &crew, &overview, &mut signals, &poll_now, &state).await?;
    Ok(stop(crew, tellers) && in_order)
}

/// Keeps looking at how much memory is left, as far as it has a limit.
fn watch_memory(config: &Config, give_back: fn()) -> Arc<Memory> {
    let max_bytes = config.memory_max_bytes.or_else(memory::group_limit_bytes);
    let memory = Arc::new(Memory::new(max_bytes).giving_back(give_back));
    tokio::task::spawn_local(memory.clone().watch());
    memory
}

/// Stops the workers, then whoever tells of what they did; whether each thread ended well.
fn stop(crew: Crew, tellers: Tellers) -> bool {
    let stopped = crew.stop();
    tellers.end() && stopped
}

/// Takes calls until there is a reason to end; whether nothing was cut that was to be finished.
async fn carry(
    listeners: Listeners,
    config: &Config,
    crew: &Crew,
    overview: &Overview,
    signals: &mut Signals,
    poll_now: &Notify,
    state: &StateDir,
) -> Result<bool, AppError> {
    let (usher, interceptor) = (crew.usher(), listeners.interceptor(config));
    listeners.outbound.take(&usher, interceptor.as_ref()).await?;
    let identity = overview.keepers.identity.clone();
    if let Some(ports) = overview.keepers.ports.clone() {
        let identity = identity.clone();
        tokio::task::spawn_local(async move {
            identity.proved().await;
            ports.run().await;
        });
    }
    tokio::task::spawn_local(tell_when_ready(overview.plan.clone(), identity.clone()));
    tokio::select! {
        biased;
        Err(refused) = listeners.inbound.take(&usher, interceptor.as_ref(), config, &identity) => Err(refused),
        in_order = until_the_end(config, crew, overview, signals, poll_now, state) => Ok(in_order),
    }
}

/// Who this proxy is to others: begins to ask for what proves it, if the flags say where.
fn prove(config: &Config, state: &Arc<StateDir>) -> Result<Rc<Keeper>, AppError> {
    let keeper = Keeper::new(config.identity.is_some());
    if let Some(from) = config.identity.clone() {
        let source = identity::source::Source::open(from, &config.service, state.clone(), keeper.clone())?;
        tokio::task::spawn_local(source.run());
    }
    Ok(keeper)
}

/// Starts the workers, which serve nothing yet.
fn start_crew(
    config: &Config,
    plan: &CurrentPlan,
    memory: &Arc<Memory>,
    identity: &Keeper,
    tellers: &Tellers,
) -> std::io::Result<Crew> {
    let shared = Shared {
        plan: plan.clone(),
        lineages: Arc::default(),
        memory: memory.clone(),
        places: ConnectionPlaces::new(config.workers.get(), raise_descriptors()),
        limits: config.downstream.into(),
        identity: identity.shared().clone(),
        proxies: Arc::new(Trusted::new(&config.proxy_protocol_from)),
        trusted: Trusted::new(&config.trusted),
        traces: tellers.traces.as_ref().map(Export::shared),
        access_log: tellers.access_log.as_ref().map(Writer::shared),
    };
    Crew::start(config.workers.get(), shared)
}

/// What looks after certificates, and after the ports of a gateway.
fn keepers(config: &Config, identity: Rc<Keeper>, crew: &Crew) -> Result<Keepers, AppError> {
    let certificates = Certificates::new(config.certificates.clone())?;
    let ports = config.gateway.map(|address| Ports::new(address, crew.usher()));
    Ok(Keepers { identity, certificates, ports })
}

/// Keeps asking endpoints whether they are well, and looking at the files of certificates.
fn look_after(keepers: &Keepers, plan: &CurrentPlan, checks: &Rc<health_check::Results>) {
    let identity = keepers.identity.shared().clone();
    if identity.wanted() {
        tokio::task::spawn_local(keepers.identity.clone().review());
    }
    tokio::task::spawn_local(health_check::run(plan.clone(), identity, checks.clone()));
    tokio::task::spawn_local(keepers.certificates.clone().run(plan.clone()));
}

/// Names are asked for as the flags say, and answered by what was remembered until DNS has spoken.
fn resolver(config: &Config, state: &StateDir) -> Result<Resolver, ResolveError> {
    let remembered = state.read_or_warn::<LastEndpoints>().map(|last| last.names).unwrap_or_default();
    let config = ResolverConfig { nameservers: config.dns_servers.clone(), ..ResolverConfig::default() };
    Resolver::new(config, remembered)
}

fn local(config: &Config) -> Local {
    Local {
        service: config.service.clone(),
        node: config.node.as_str().into(),
        zone: config.zone.as_deref().map(Arc::from),
        app: config.inbound.as_ref().map(|inbound| match &inbound.app {
            config::App::At { address, port } => plan::App::At { host: *address, port: *port },
            config::App::Socket(path) => plan::App::Socket(path.as_path().into()),
        }),
        identity: config.identity.is_some(),
        transparent: config.transparent.is_some(),
        detail: config.detail,
    }
}

/// Has global rate limits counted with the store that the flags name, if any.
fn count_together(config: &Config, registry: &Rc<RefCell<Registry>>) -> Option<StoreStatus> {
    let store = config.rate_limit_store.clone()?;
    let (status, limits) = (StoreStatus::default(), registry.clone());
    registry.borrow_mut().rate_limits = RateLimits::new(Some(status.link.clone()));
    let stored = move || limits.borrow().rate_limits.stored();
    tokio::task::spawn_local(rate_limit_store::run(store, status.clone(), stored));
    Some(status)
}

/// Tells systemd once the first plan runs and this proxy can prove who it is: a sidecar that waits for one has nothing to offer those who start after it.
async fn tell_when_ready(plan: CurrentPlan, identity: Rc<Keeper>) {
    while plan.load().is_none() || identity.awaited().is_some() {
        sleep(READY_TICK).await;
    }
    tell(Turn::Ready);
}

/// Waits until every name has been asked for once, or long enough.
async fn warm_up(names: &ResolveMetrics) {
    let unasked =
        || names.names().iter().any(|name| name.freshness() == crate::resolve::state::Freshness::Unresolved);
    let until = Instant::now() + WARM_UP_MAX;
    while unasked() && Instant::now() < until {
        sleep(WARM_UP_TICK).await;
    }
}
