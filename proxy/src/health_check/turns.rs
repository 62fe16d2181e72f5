//! Places for probes: so many at once, and so many of them for one cluster, since one that hangs holds its place until its time is over. Those
//! who wait are served by turns over their clusters.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use outrigger_snapshot::name::ClusterName;
use tokio::sync::oneshot;

use super::TARGETS_MAX;

/// Probes under way at the same time.
pub const PROBES_MAX: usize = 256;

/// Of these, probes of one cluster.
pub const CLUSTER_PROBES_MAX: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    taken: usize,
    clusters: HashMap<ClusterName, Line>,
    /// Clusters whose turn will come, each once: somebody waits, and it has fewer places than it may.
    next: VecDeque<ClusterName>,
}

/// Of one cluster.
#[derive(Debug, Default)]
struct Line {
    taken: usize,
    /// Whether it stands among those whose turn will come.
    queued: bool,
    /// At most [`TARGETS_MAX`], and as many that have left.
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// The right to one probe, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    turns: Rc<Turns>,
    cluster: ClusterName,
}

impl Turns {
    /// Waits for a place for a probe of `cluster`.
    pub(super) async fn place(self: &Rc<Self>, cluster: &ClusterName) -> Place {
        let (sender, place) = oneshot::channel();
        self.0.borrow_mut().line_up(cluster, sender);
        self.serve();
        place.await.expect("who waits in a line is dropped only after they have left it")
    }

    fn serve(self: &Rc<Self>) {
        loop {
            let next = self.0.borrow_mut().next();
            let Some((waiter, cluster)) = next else { return };
            // Whoever has just left gives it back.
            let _ = waiter.send(Place { turns: self.clone(), cluster });
        }
    }
}

impl State {
    fn line_up(&mut self, cluster: &ClusterName, waiter: oneshot::Sender<Place>) {
        let line = self.clusters.entry(cluster.clone()).or_default();
        if line.waiting.len() >= 2 * TARGETS_MAX {
            line.waiting.retain(|waiter| !waiter.is_closed());
        }
        line.waiting.push_back(waiter);
        self.queue(cluster);
    }

    /// Its turn will come, if it has one to wait for and is owed one; else, if there is nothing left of it, it is forgotten.
    fn queue(&mut self, cluster: &ClusterName) {
        let Some(line) = self.clusters.get_mut(cluster) else { return };
        if line.waiting.is_empty() {
            if line.taken == 0 {
                self.clusters.remove(cluster);
            }
        } else if !line.queued && line.taken < CLUSTER_PROBES_MAX {
            line.queued = true;
            self.next.push_back(cluster.clone());
        }
    }

    /// Who gets a place now, if there is one.
    fn next(&mut self) -> Option<(oneshot::Sender<Place>, ClusterName)> {
        while self.taken < PROBES_MAX {
            let cluster = self.next.pop_front()?;
            let Some(line) = self.clusters.get_mut(&cluster) else { continue };
            line.queued = false;
            let waiter = std::iter::from_fn(|| line.waiting.pop_front()).find(|waiter| !waiter.is_closed());
            let taken = usize::from(waiter.is_some());
            line.taken += taken;
            self.taken += taken;
            self.queue(&cluster);
            if let Some(waiter) = waiter {
                return Some((waiter, cluster));
            }
        }
        None
    }

    fn leave(&mut self, cluster: &ClusterName) {
        self.taken -= 1;
        if let Some(line) = self.clusters.get_mut(cluster) {
            line.taken -= 1;
        }
        self.queue(cluster);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turns.0.borrow_mut().leave(&self.cluster);
        self.turns.serve();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
    use tokio::time::{Instant, sleep};

    use super::*;

    fn cluster(name: &str) -> ClusterName {
        format!("shop/{name}:80").parse().unwrap()
    }

    /// Somebody who asks again and again, and each time holds the place for so long.
    fn asks(turns: &Rc<Turns>, name: &str, hold: Duration, pause: Duration) -> JoinHandle<()> {
        let (turns, cluster) = (turns.clone(), cluster(name));
        spawn_local(async move {
            loop {
                let place = turns.place(&cluster).await;
                sleep(hold).await;
                drop(place);
                sleep(pause).await;
            }
        })
    }

    /// Longest wait of one who asks each second, for so many seconds.
    async fn longest(turns: &Rc<Turns>, name: &str, seconds: u64) -> Duration {
        let (cluster, mut longest) = (cluster(name), Duration::ZERO);
        for _ in 0..seconds {
            let due = Instant::now();
            let place = turns.place(&cluster).await;
            longest = longest.max(due.elapsed());
            sleep(Duration::from_millis(5)).await;
            drop(place);
            sleep(Duration::from_secs(1)).await;
        }
        longest
    }

    const HUNG: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_hangs_holds_up_no_other() {
        let (local, turns) = (LocalSet::new(), Rc::<Turns>::default());
        let scene = async {
            for _ in 0..500 {
                asks(&turns, "hung", HUNG, PAUSE);
            }
            sleep(Duration::from_secs(1)).await;
            assert_eq!(turns.0.borrow().taken, CLUSTER_PROBES_MAX);
            assert_eq!(longest(&turns, "well", 60).await, Duration::ZERO);
        };
        local.run_until(scene).await;
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_places_are_held_the_next_is_for_whose_turn_it_is() {
        let (local, turns) = (LocalSet::new(), Rc::<Turns>::default());
        let scene = async {
            for number in 0..20 {
                for nth in 0..500 {
                    // Places come free one after the other, not all at once.
                    let hold = HUNG / 2 + Duration::from_millis(nth * 2_617 % 5_000);
                    asks(&turns, &format!("hung{number}"), hold, PAUSE);
                }
                sleep(Duration::from_millis(500)).await;
            }
            assert_eq!(turns.0.borrow().taken, PROBES_MAX);
            let longest = longest(&turns, "well", 60).await;
            // 21 clusters, and 256 places of 7.5 s each.
            assert!(longest <= Duration::from_secs(2), "{longest:?}");
        };
        local.run_until(scene).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_takes_no_place_along() {
        let (local, turns) = (LocalSet::new(), Rc::<Turns>::default());
        let scene = async {
            let all: Vec<_> = (0..100).map(|_| asks(&turns, "hung", HUNG, PAUSE)).collect();
            sleep(PAUSE).await;
            // Some who wait, some who hold a place, and one who has got it and does not know yet.
            all[10..60].iter().for_each(JoinHandle::abort);
            yield_now().await;
            assert_eq!(turns.0.borrow().taken, CLUSTER_PROBES_MAX);
            all.iter().for_each(JoinHandle::abort);
            sleep(PAUSE).await;
            let state = turns.0.borrow();
            assert_eq!((state.taken, state.clusters.len(), state.next.len()), (0, 0, 0));
        };
        local.run_until(scene).await;
    }
}
