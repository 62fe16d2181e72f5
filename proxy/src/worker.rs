//! A worker: one thread, one current-thread runtime, and what its connections share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwapOption, Cache};

use crate::access_log::{self, AccessLog};
use crate::clock;
use crate::cluster::Cluster;
use crate::config::Downstream;
use crate::crew::places::ConnectionPlaces;
use crate::failure::Failure;
use crate::handshakes::{HANDSHAKES_MAX, Places};
use crate::http::replay::ReplayPool;
use crate::identity::Identity;
use crate::lineage::Lineages;
use crate::memory::Memory;
use crate::opaque::{Means, Pipes};
use crate::plan::{Plan, Resolution};
use crate::pool::Pools;
use crate::story::{Labels, Stories, Told};
use crate::sweep::Sweep;
use crate::telemetry::metrics::{Direction, WorkerStats};
use crate::traces::{self, Traces};
use crate::trust::Trusted;

/// The plan that is in force; `None` before the first.
pub type CurrentPlan = Arc<ArcSwapOption<Plan>>;

/// How often a worker keeps house.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// Connections whose memory is worth returning: a mebibyte and more.
const REST_MANY: u32 = 128;

/// Downstream settings that hold for every connection.
#[derive(Debug, Clone, Copy)]
pub struct DownstreamLimits {
    /// A connection without a request is closed after this.
    pub idle_ns: u64,
    /// A request head must be complete this long after its first byte.
    pub head_ns: u64,
    /// What a connection to the workload speaks must show this long after it was accepted, where it may be something else than HTTP.
    pub detect_ns: u64,
    /// An HTTP/2 connection is told to end after this.
    pub age_ns: u64,
    /// Streams of one HTTP/2 connection.
    pub streams: u32,
}

/// Streams of one downstream HTTP/2 connection.
const STREAMS_MAX: u32 = 100;

impl From<Downstream> for DownstreamLimits {
    fn from(limits: Downstream) -> Self {
        let nanoseconds = |limit: Duration| limit.as_nanos() as u64;
        Self {
            idle_ns: nanoseconds(limits.idle),
            head_ns: nanoseconds(limits.head),
            detect_ns: nanoseconds(limits.detect),
            age_ns: nanoseconds(limits.age),
            streams: STREAMS_MAX,
        }
    }
}

/// Where a worker is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is not.
    Running,
    /// It still takes connections, and asks clients to come back elsewhere.
    Leaving,
    /// It takes no more calls to the workload, which may still make its own.
    DrainingInbound,
    /// It takes none, and closes each connection as soon as it is idle.
    Draining,
    /// It stops.
    Stopped,
}

impl Phase {
    /// Whether connections of this direction are taken no more, and end as soon as they are idle.
    pub fn drains(self, direction: Direction) -> bool {
        match direction {
            Direction::Inbound => self >= Self::DrainingInbound,
            Direction::Outbound => self >= Self::Draining,
        }
    }
}

/// What all workers have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The plan in force.
    pub plan: CurrentPlan,
    /// Calls to the workload under way.
    pub lineages: Arc<Lineages>,
    /// How much memory there is.
    pub memory: Arc<Memory>,
    /// How many connections are served at a time.
    pub places: Arc<ConnectionPlaces>,
    /// Downstream settings.
    pub limits: DownstreamLimits,
    /// Who this proxy is to others.
    pub identity: Arc<Identity>,
    /// Proxies that say for whom they connect to the workload.
    pub proxies: Arc<Trusted>,
    /// Whose word counts at a gateway about where a request comes from.
    pub trusted: Trusted,
    /// Where traces go, if they are told.
    pub traces: Option<traces::Shared>,
    /// Where the access log goes, if there is one.
    pub access_log: Option<access_log::Shared>,
}

/// See the module.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0: its shard of every metric.
    pub index: usize,
    /// Its deadlines.
    pub sweep: Rc<Sweep>,
    /// Its upstream connections.
    pub pools: Pools,
    /// Request bodies that it keeps to send them again.
    pub replay: ReplayPool,
    /// What is known of the requests that it carries.
    pub stories: Stories,
    /// Its pipes, for connections that it carries without looking at them.
    pub pipes: Pipes,
    /// Calls to the workload under way, whoever carries them.
    pub lineages: Arc<Lineages>,
    /// How much memory there is, for all workers.
    pub memory: Arc<Memory>,
    /// How many connections are served at a time, by all workers.
    pub places: Arc<ConnectionPlaces>,
    /// Its counters.
    pub stats: Arc<WorkerStats>,
    /// Downstream settings.
    pub limits: DownstreamLimits,
    /// Who this proxy is to others.
    pub identity: Arc<Identity>,
    /// Proxies that say for whom they connect to the workload.
    pub proxies: Arc<Trusted>,
    /// Whose word counts at a gateway about where a request comes from.
    pub trusted: Trusted,
    /// Its traces, if they are told.
    pub traces: Option<Traces>,
    /// Its access log, if there is one.
    pub access_log: Option<Rc<AccessLog>>,
    /// Places for handshakes with callers.
    pub handshakes: Rc<Places>,
    plan: RefCell<Cache<CurrentPlan, Option<Arc<Plan>>>>,
    random: Cell<u64>,
    phase: Cell<Phase>,
    /// Connections that came to rest since it last kept house.
    rested: Cell<u32>,
}

impl Worker {
    /// A worker without connections. `seed` must differ between workers and processes.
    pub fn new(index: usize, shared: Shared, stats: Arc<WorkerStats>, seed: u64) -> Rc<Self> {
        let Shared { plan, lineages, memory, places, limits, identity, proxies, trusted, traces, access_log } =
            shared;
        let sweep = Sweep::new();
        Rc::new(Self {
            index,
            pools: Pools::new(stats.clone(), identity.clone(), sweep.clone()),
            replay: ReplayPool::new(stats.clone(), index),
            stories: Stories::default(),
            pipes: Pipes::default(),
            lineages,
            memory,
            places,
            sweep,
            stats,
            limits,
            identity,
            proxies,
            trusted,
            traces: traces.map(Traces::new),
            access_log: access_log.map(AccessLog::new),
            handshakes: Places::new(HANDSHAKES_MAX),
            plan: RefCell::new(Cache::new(plan)),
            random: Cell::new(seed),
            phase: Cell::new(Phase::Running),
            rested: Cell::new(0),
        })
    }

    /// Looks something up in the plan that is in force now.
    pub fn with_plan<T>(&self, look: impl FnOnce(&Plan) -> T) -> Option<T> {
        self.plan.borrow_mut().load().as_deref().map(look)
    }

    /// What connections are carried with that nobody looks into.
    pub fn means(&self) -> Means {
        Means { sweep: self.sweep.clone(), pipes: self.pipes.clone(), stats: self.stats.clone() }
    }

    /// Looks after what no request looks after, for as long as the worker runs: connections that are idle for too long, or whose places other
    /// workers want, and a plan that is out of force, which an idle worker would hold for good.
    pub async fn keep_house(&self) {
        let log = async {
            if let Some(log) = &self.access_log {
                log.keep_going().await;
            }
        };
        tokio::join!(self.tidy(), self.pools.give_way(), self.part(), log);
    }

    /// Lets every connection know when somebody is believed no more.
    async fn part(&self) {
        let mut refusals = self.identity.peers().refusals();
        while refusals.changed().await.is_ok() {
            self.sweep.wake_all();
        }
    }

    async fn tidy(&self) {
        loop {
            tokio::time::sleep(HOUSEKEEPING).await;
            self.pools.trim(clock::now_ns());
            self.plan.borrow_mut().load();
            if self.rested.take() >= REST_MANY {
                self.memory.give_back();
            }
        }
    }

    /// A connection is at rest. What many of them have let go is returned to the system: an allocator does so only while it goes on
    /// allocating.
    pub fn rests(&self) {
        self.rested.set(self.rested.get().saturating_add(1));
    }

    /// 64 random bits (splitmix64, Steele et al. 2014): enough to balance by, not to keep secrets.
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// What is said of a request beside the usual, if anyone may be told of it: of one that fails they are, drawn or not.
    pub fn labels_of<'a>(&self, resolution: &'a Resolution) -> Option<&'a Labels> {
        let Cluster { telemetry, labels, .. } = &*resolution.destination()?.cluster;
        let is_logged = || telemetry.as_ref().is_none_or(|telemetry| telemetry.access_log != Some(false));
        let may_be_told = self.traces.is_some() || self.access_log.is_some() && is_logged();
        may_be_told.then_some(labels)
    }

    /// A request is over at `now_ns`: tells of it whoever is to know.
    pub fn tells(&self, told: &Told, status: Option<u16>, now_ns: u64) {
        if told.is_failure(status) {
            self.stats.failures.keep(Failure::of(told, status, now_ns));
        }
        if let Some(traces) = &self.traces {
            traces.over(told, status, now_ns, || self.random());
        }
        if let Some(log) = &self.access_log {
            log.over(told, status, now_ns, || self.random());
        }
        if self.stats.taps.watched() {
            self.stats.taps.show(told, status, now_ns);
        }
    }

    /// Where it is on its way out.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Goes on, and lets every connection know.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.sweep.wake_all();
    }
}
