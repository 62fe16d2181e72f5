//! The workers' threads. A single worker accepts by itself; with more, a thread of its own accepts and hands each connection to the worker
//! with the fewest. (The control thread could not: a plan of ten thousand routes keeps it busy for longer than a client should wait.)

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use futures_util::FutureExt;
use futures_util::future::Either;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tower_service::Service;

use self::acceptor::Acceptor;
use self::door::{Counted, Tally, Way};
use self::places::{ConnectionPlace, ConnectionPlaces};
use crate::clock;
use crate::connection::{self, Intercepted};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::gateway;
use crate::lineage::Lineages;
use crate::listener::{Bound, Listener, accept, accept_queued};
use crate::opaque;
use crate::stack::stack;
use crate::telemetry::kinds::Room;
use crate::telemetry::metrics::{Direction, WorkerStats};
use crate::transport::{Detached, Socket};
use crate::worker::{Phase, Shared, Worker};

pub use self::door::{Door, ListenerView};

mod acceptor;
mod door;
pub mod places;

/// Connections on their way from the accepting thread to a worker.
const HANDOVER_MAX: usize = 1_024;

/// Shows listeners to whoever accepts.
#[derive(Debug, Clone)]
pub struct Usher {
    taker: mpsc::Sender<Handover>,
    arrivals: Arc<[AtomicU64; 2]>,
    /// Of the listeners that were shown: as many as flags and gateways name.
    tallies: Rc<RefCell<Vec<Arc<Tally>>>>,
}

impl Usher {
    /// Accepts from `listener` until the drain, or the door, closes it.
    pub async fn listen(&self, listener: impl Into<Bound>, door: impl Into<Door>) {
        let (listener, door) = (listener.into(), door.into());
        let arrival = Arrival::new(&self.arrivals, door.direction);
        let tally = Tally::new(&listener, &door);
        self.tallies.borrow_mut().retain(|tally| !tally.is_over());
        self.tallies.borrow_mut().push(tally.clone());
        // Who takes it is gone only when the process ends.
        let _ = self.taker.send(Handover::Listener(listener, door, tally, arrival)).await;
    }

    /// The listeners that it was shown.
    pub fn listeners(&self) -> Vec<ListenerView> {
        self.tallies.borrow().iter().filter(|tally| !tally.is_over()).map(|tally| tally.view()).collect()
    }
}

/// What a worker is given, and the accepting thread.
#[derive(Debug)]
enum Handover {
    Listener(Bound, Door, Arc<Tally>, Arrival),
    Connection(Detached, SocketAddr, Way, (ConnectionPlace, Counted), Arrival),
}

/// What may still become a connection: a listener that accepts, or an accepted socket that no worker has counted yet. A drain that did not
/// wait for it would end between the two.
#[derive(Debug)]
struct Arrival(Arc<[AtomicU64; 2]>, Direction);

impl Arrival {
    fn new(arrivals: &Arc<[AtomicU64; 2]>, direction: Direction) -> Self {
        arrivals[direction as usize].fetch_add(1, Relaxed);
        Self(arrivals.clone(), direction)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0[self.1 as usize].fetch_sub(1, Relaxed);
    }
}

/// All workers.
#[derive(Debug)]
pub struct Crew {
    members: Vec<Member>,
    /// What accepts if there are several workers.
    acceptor: Option<Acceptor>,
    usher: Usher,
    phase: watch::Sender<Phase>,
    arrivals: Arc<[AtomicU64; 2]>,
    lineages: Arc<Lineages>,
}

/// One worker's thread, as the crew sees it.
#[derive(Debug)]
struct Member {
    stats: Arc<WorkerStats>,
    handover: mpsc::Sender<Handover>,
    thread: JoinHandle<()>,
}

impl Crew {
    /// Starts `count` workers, which serve nothing until there is a listener.
    pub fn start(count: usize, shared: Shared) -> io::Result<Self> {
        let (phase, phases) = watch::channel(Phase::Running);
        let (lineages, places) = (shared.lineages.clone(), shared.places.clone());
        let room = Arc::<Room>::default();
        let start = |index| {
            let stats = Arc::new(WorkerStats::sharing(room.clone()));
            Member::start(index, shared.clone(), stats, phases.clone())
        };
        let members = (0..count).map(start);
        let members: Vec<_> = members.collect::<io::Result<_>>()?;
        let arrivals = Arc::default();
        let acceptor =
            (count > 1).then(|| Acceptor::start(&members, phases.clone(), &arrivals, &places)).transpose()?;
        let taker = match (&acceptor, members.first()) {
            (Some(acceptor), _) => acceptor.handover.clone(),
            (None, Some(only)) => only.handover.clone(),
            (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let usher = Usher { taker, arrivals: arrivals.clone(), tallies: Rc::default() };
        Ok(Self { members, acceptor, usher, phase, arrivals, lineages })
    }

    /// Calls to the workload under way.
    pub fn lineages(&self) -> &Arc<Lineages> {
        &self.lineages
    }

    /// What the workers count.
    pub fn stats(&self) -> Vec<Arc<WorkerStats>> {
        self.members.iter().map(|member| member.stats.clone()).collect()
    }

    /// Has listeners accepted from, at any time.
    pub fn usher(&self) -> Usher {
        self.usher.clone()
    }

    /// Moves every worker to a phase; phases only go forward.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    /// The phase the workers are in, as it goes on.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Downstream connections that are open or may still come.
    pub fn open_connections(&self) -> u64 {
        let open: u64 = self.members.iter().map(|member| member.stats.open_connections()).sum();
        open + self.arrivals.iter().map(|count| count.load(Relaxed)).sum::<u64>()
    }

    /// Those that carry calls to the workload.
    pub fn open_inbound(&self) -> u64 {
        let inbound =
            |member: &Member| member.stats.downstream_connections[Direction::Inbound as usize].value();
        let open: u64 = self.members.iter().map(inbound).sum();
        open + self.arrivals[Direction::Inbound as usize].load(Relaxed)
    }

    /// Stops the workers, whatever they are doing; whether each thread ended well.
    pub fn stop(self) -> bool {
        self.enter(Phase::Stopped);
        let accepting = self.acceptor.map(|acceptor| acceptor.thread);
        let threads = self.members.into_iter().map(|member| member.thread).chain(accepting);
        // Every thread is waited for, whatever became of the one before.
        threads.map(JoinHandle::join).filter(Result::is_err).count() == 0
    }
}

impl Member {
    fn start(
        index: usize,
        shared: Shared,
        stats: Arc<WorkerStats>,
        phases: watch::Receiver<Phase>,
    ) -> io::Result<Self> {
        let (handover, handed) = mpsc::channel(HANDOVER_MAX);
        let seed = fastrand::u64(..);
        let counted = stats.clone();
        let life = move || work(Worker::new(index, shared, counted, seed), handed, phases);
        let thread = start_thread(format!("worker-{index}"), runtime(&stats), life)?;
        Ok(Self { stats, handover, thread })
    }
}

/// Starts a thread with a runtime of its own; the error is why it could not.
fn start_thread<F: Future<Output = ()>>(
    name: String,
    mut runtime: Builder,
    life: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (starting, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        match runtime.build_local(LocalOptions::default()) {
            Ok(runtime) => {
                let _ = starting.send(Ok(()));
                runtime.block_on(life());
            }
            // Whoever started it waits for this.
            Err(error) => {
                let _ = starting.send(Err(error));
            }
        }
    })?;
    started.recv().map_err(io::Error::other)??;
    Ok(thread)
}

/// A worker's runtime, which measures how long each of its turns is.
fn runtime(stats: &Arc<WorkerStats>) -> Builder {
    let (waking, waiting) = (stats.clone(), stats.clone());
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    builder.on_thread_unpark(move || waking.turns.begin(clock::now_ns()));
    builder.on_thread_park(move || waiting.turns.end(clock::now_ns()));
    builder
}

/// The life of a worker.
async fn work(worker: Rc<Worker>, mut handed: mpsc::Receiver<Handover>, mut phases: watch::Receiver<Phase>) {
    tokio::task::spawn_local(worker.sweep.clone().run(worker.stats.clone()));
    let housekeeper = worker.clone();
    tokio::task::spawn_local(async move { housekeeper.keep_house().await });
    let stack = stack(worker.clone());
    let listeners = phases.clone();
    loop {
        tokio::select! {
            next = handed.recv() => match next {
                None => return,
                Some(Handover::Connection(stream, peer, way, place, arrival)) => {
                    if let Ok(stream) = stream.attach() {
                        take(&worker, &stack, place, stream, peer, way);
                    }
                    drop(arrival);
                }
                Some(Handover::Listener(listener, door, tally, accepting)) => {
                    let Ok(listener) = listener.attach() else { continue };
                    let (worker, stack) = (worker.clone(), stack.clone());
                    let phases = listeners.clone();
                    tokio::task::spawn_local(async move {
                        let way = Way::from(&door);
                        let places = worker.places.clone();
                        let take = async |place, stream, peer| {
                            let place = (place, Counted::new(&tally));
                            take(&worker, &stack, place, stream, peer, way.clone());
                        };
                        accept_until_drained(listener, door, phases, &places, take).await;
                        tally.closes();
                        drop(accepting);
                    });
                }
            },
            changed = phases.changed() => {
                let phase = *phases.borrow_and_update();
                worker.enter(phase);
                if phase == Phase::Stopped || changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Serves a connection in a task of its own. It counts from now on: a drain must not end before the task has had its first turn.
fn take<S>(
    worker: &Rc<Worker>,
    stack: &S,
    place: (ConnectionPlace, Counted),
    stream: Socket,
    peer: SocketAddr,
    way: Way,
) where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let arrive = |direction| connection::Arrival::new(worker, direction, peer);
    let stack = stack.clone();
    match way {
        Way::Calls(direction, port, interceptor) => {
            let arrival = connection::Arrival { port, ..arrive(direction) };
            let intercepted = match interceptor {
                Some(interceptor) => Intercepted::new(stream, &interceptor),
                None => Err(stream),
            };
            let serving = match intercepted {
                Ok(intercepted) => Either::Left(Box::pin(intercepted.serve(arrival, stack))),
                Err(stream) => Either::Right(connection::serve(stream, arrival, stack)),
            };
            tokio::task::spawn_local(serving.map(|()| drop(place)));
        }
        Way::Forward(forward) => {
            let carrying = opaque::serve(arrive(Direction::Outbound), forward, stream.into());
            tokio::task::spawn_local(carrying.map(|()| drop(place)));
        }
        Way::Gateway(port) => {
            if let Some(serving) = gateway::serve(stream, arrive(Direction::Outbound), stack, port) {
                tokio::task::spawn_local(serving.map(|()| drop(place)));
            }
        }
    }
}

/// Takes connections until the drain or the door closes the listener, and then those that the kernel has accepted in our name already: closing the listener would reset
/// them.
async fn accept_until_drained(
    listener: Listener,
    door: Door,
    mut phases: watch::Receiver<Phase>,
    places: &ConnectionPlaces,
    take: impl AsyncFn(ConnectionPlace, Socket, SocketAddr),
) {
    let direction = door.direction;
    let mut closed = std::pin::pin!(async {
        match door.closed {
            // Nothing is ever sent.
            Some(closed) => drop(closed.await),
            None => std::future::pending().await,
        }
    });
    loop {
        let next = async {
            // A place first: without one there may be no descriptor either.
            let place = places.take(direction).await;
            (place, accept(&listener).await)
        };
        let (place, (stream, peer)) = tokio::select! {
            next = next => next,
            () = &mut closed => break,
            // An error means that the process is going.
            _ = phases.wait_for(|phase| phase.drains(direction)) => break,
        };
        take(place, stream, peer).await;
    }
    for (stream, peer) in accept_queued(&listener).await {
        take(places.take(direction).await, stream, peer).await;
    }
}
