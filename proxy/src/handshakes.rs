//! Places for handshakes, so many at a time for each worker. One address may have all of them while nobody else wants any; when others wait,
//! those have the next that become free who have fewest, and who has more than they do gives up what it holds on to.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::trust::host;

/// Handshakes with callers that are under way at the same time, for each worker; the rest wait their turn.
pub const HANDSHAKES_MAX: usize = 256;

/// While others have fewer places than its address, a handshake gives up its own after this: a worker that is busy with as many as it may have
/// needs half as long for each, and a caller a few milliseconds.
pub const GRACE: Duration = Duration::from_millis(250);

/// While others wait at all, a handshake that is not over after this gives up its place: whoever means to hold all places, from as many
/// addresses, holds each no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module. Bounded by the connections that wait.
#[derive(Debug)]
pub struct Places {
    most: usize,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Only addresses that hold or want a place.
    hosts: HashMap<IpAddr, Host>,
    /// How many have waited so far.
    tickets: u64,
}

#[derive(Debug, Default)]
struct Host {
    taken: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Place>)>,
}

/// A place, until this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Rc<Places>,
    host: IpAddr,
}

impl Places {
    /// So many.
    pub fn new(most: usize) -> Rc<Self> {
        Rc::new(Self { most, state: RefCell::default() })
    }

    /// Waits for a place.
    pub async fn take(self: &Rc<Self>, from: IpAddr) -> Place {
        let host = host(from);
        loop {
            let waiting = {
                let mut state = self.state.borrow_mut();
                if state.taken < self.most {
                    return state.place(self, host);
                }
                let (given, waiting) = oneshot::channel();
                let ticket = state.tickets;
                state.tickets += 1;
                state.hosts.entry(host).or_default().waiting.push_back((ticket, given));
                waiting
            };
            if let Ok(place) = waiting.await {
                return place;
            }
        }
    }

    fn give_back(self: &Rc<Self>, host: IpAddr) {
        let mut state = self.state.borrow_mut();
        state.taken -= 1;
        if let Some(host) = state.hosts.get_mut(&host) {
            host.taken -= 1;
        }
        let next = state.neediest().and_then(|(host, _)| {
            let (_, given) = state.hosts.get_mut(&host)?.waiting.pop_front()?;
            Some((given, state.place(self, host)))
        });
        drop(state);
        if let Some((given, place)) = next {
            // It was there a moment ago, on this thread.
            let _ = given.send(place);
        }
    }
}

impl State {
    fn place(&mut self, places: &Rc<Places>, host: IpAddr) -> Place {
        self.taken += 1;
        self.hosts.entry(host).or_default().taken += 1;
        Place { places: places.clone(), host }
    }

    /// Who waits and has fewest places, and how many; of equals, who has waited longest. Those that have left are forgotten.
    fn neediest(&mut self) -> Option<(IpAddr, usize)> {
        self.hosts.retain(|_, host| {
            while host.waiting.front().is_some_and(|(_, given)| given.is_closed()) {
                host.waiting.pop_front();
            }
            host.taken > 0 || !host.waiting.is_empty()
        });
        let waiting = |(address, host): (&IpAddr, &Host)| {
            host.waiting.front().map(|(ticket, _)| (host.taken, *ticket, *address))
        };
        self.hosts.iter().filter_map(waiting).min().map(|(taken, _, address)| (address, taken))
    }
}

impl Place {
    /// Whether it is to be given up, once it has been held for so long.
    pub fn is_wanted(&self, held: Duration) -> bool {
        let mut state = self.places.state.borrow_mut();
        let Some((_, fewest)) = state.neediest() else { return false };
        let own = state.hosts.get(&self.host).map_or(0, |host| host.taken);
        // Or two would take it from each other in turn.
        held >= PATIENCE || held >= GRACE && own > fewest + 1
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.host);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::LocalBoxFuture;

    use super::*;

    fn at(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    type Waiting = LocalBoxFuture<'static, Place>;

    /// A place, or the wait for one.
    fn ask(places: &Rc<Places>, from: IpAddr) -> Result<Place, Waiting> {
        let places = places.clone();
        let mut waiting = async move { places.take(from).await }.boxed_local();
        (&mut waiting).now_or_never().ok_or(waiting)
    }

    fn take(places: &Rc<Places>, from: IpAddr) -> Place {
        ask(places, from).unwrap_or_else(|_| panic!("no place is free"))
    }

    fn wait(places: &Rc<Places>, from: IpAddr) -> Waiting {
        ask(places, from).map_or_else(|waiting| waiting, |_| panic!("a place is free"))
    }

    #[test]
    fn one_address_may_have_all_places_and_keeps_them_while_nobody_else_waits() {
        let places = Places::new(4);
        let held: Vec<_> = (0..4).map(|_| take(&places, at(1))).collect();
        assert!(held.iter().all(|place| !place.is_wanted(PATIENCE * 9)));
        let waits = wait(&places, at(1));
        assert!(!held[0].is_wanted(GRACE), "it would go to itself");
        assert!(held[0].is_wanted(PATIENCE));
        drop(waits);
        assert!(!held[0].is_wanted(PATIENCE), "who waited has left");
        drop(held);
        assert!(places.state.borrow_mut().neediest().is_none() && places.state.borrow().hosts.is_empty());
    }

    #[test]
    fn who_has_fewest_is_next_and_who_has_more_gives_up() {
        let places = Places::new(4);
        let mut held: Vec<_> = (0..4).map(|_| take(&places, at(1))).collect();
        let mut queue: Vec<_> = (0..3).map(|_| wait(&places, at(1))).collect();
        let mut other = wait(&places, at(2));
        assert!(!held[0].is_wanted(GRACE / 2), "it may be about to be over");
        assert!(held[0].is_wanted(GRACE));
        drop(held.remove(0));
        let other = (&mut other).now_or_never().expect("it goes before those that were there");
        assert!(queue.iter_mut().all(|waits| waits.now_or_never().is_none()));
        assert!(!held[0].is_wanted(GRACE), "now its own wait alone");
        drop(other);
        assert!((&mut queue[0]).now_or_never().is_some(), "then those are served, in their order");
        assert!((&mut queue[1]).now_or_never().is_some(), "whose place was given back at once");
    }

    #[test]
    fn a_place_that_nobody_has_come_for_is_not_lost() {
        let places = Places::new(1);
        let held = take(&places, at(1));
        let (first, mut second) = (wait(&places, at(2)), wait(&places, at(3)));
        drop(held);
        drop(first);
        assert!((&mut second).now_or_never().is_some());
        assert!(ask(&places, at(4)).is_ok());
    }

    #[test]
    fn two_that_have_as_many_do_not_take_places_from_each_other() {
        let places = Places::new(3);
        let held = [take(&places, at(1)), take(&places, at(1)), take(&places, at(2))];
        let _waits = wait(&places, at(2));
        assert!(held.iter().all(|place| !place.is_wanted(GRACE)));
    }
}
