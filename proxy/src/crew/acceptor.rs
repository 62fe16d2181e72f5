//! The thread that accepts for several workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};

use super::door::{Counted, Way};
use super::places::{ConnectionPlace, ConnectionPlaces};
use super::{Arrival, Handover, Member, accept_until_drained, start_thread};
use crate::telemetry::metrics::WorkerStats;
use crate::transport::Socket;
use crate::worker::Phase;

/// Listeners on their way to the thread: whoever has more waits a moment.
const LISTENERS_MAX: usize = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) handover: mpsc::Sender<Handover>,
    pub(super) thread: JoinHandle<()>,
}

/// A worker, as it is given connections.
type Taker = (Arc<WorkerStats>, mpsc::Sender<Handover>);

/// What a worker has, and what waits for it: a burst is accepted before any of it is counted.
fn connections((stats, handover): &Taker) -> u64 {
    stats.open_connections() + (handover.max_capacity() - handover.capacity()) as u64
}

impl Acceptor {
    pub(super) fn start(
        members: &[Member],
        phases: watch::Receiver<Phase>,
        arrivals: &Arc<[AtomicU64; 2]>,
        places: &Arc<ConnectionPlaces>,
    ) -> io::Result<Self> {
        let takers = members.iter().map(|member| (member.stats.clone(), member.handover.clone())).collect();
        let (handover, handed) = mpsc::channel(LISTENERS_MAX);
        let mut runtime = Builder::new_current_thread();
        runtime.enable_all();
        let counts = (arrivals.clone(), places.clone());
        let thread =
            start_thread("acceptor".to_owned(), runtime, move || work(takers, handed, phases, counts))?;
        Ok(Self { handover, thread })
    }
}

async fn work(
    takers: Arc<[Taker]>,
    mut handed: mpsc::Receiver<Handover>,
    mut phases: watch::Receiver<Phase>,
    (arrivals, places): (Arc<[AtomicU64; 2]>, Arc<ConnectionPlaces>),
) {
    let listeners = phases.clone();
    loop {
        tokio::select! {
            handover = handed.recv() => {
                let Some(Handover::Listener(listener, door, tally, accepting)) = handover else { return };
                let Ok(listener) = listener.attach() else { continue };
                let (takers, phases, arrivals) = (takers.clone(), listeners.clone(), arrivals.clone());
                let places = places.clone();
                tokio::task::spawn_local(async move {
                    let (way, direction) = (Way::from(&door), door.direction);
                    let hand_over = async |place: ConnectionPlace, stream: Socket, peer: SocketAddr| {
                        let least = takers.iter().min_by_key(|taker| connections(taker));
                        if let (Some((_, taker)), Ok(stream)) = (least, stream.detach()) {
                            let arrival = Arrival::new(&arrivals, direction);
                            let (way, place) = (way.clone(), (place, Counted::new(&tally)));
                            let _ = taker.send(Handover::Connection(stream, peer, way, place, arrival)).await;
                        }
                    };
                    accept_until_drained(listener, door, phases, &places, hand_over).await;
                    tally.closes();
                    drop(accepting);
                });
            }
            // An error means that the process is going.
            _ = phases.wait_for(|phase| *phase == Phase::Stopped) => return,
        }
    }
}
