//! The connections that a cluster may have, and who waits for one. All workers share them: a connection of one that carries nothing is given up
//! when a request of another finds no place. While there is room, none of this costs more than a look at a number.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// See the module.
#[derive(Debug, Default)]
pub struct Places {
    open: AtomicU32,
    waiting: AtomicU32,
    /// Connections that are to be given up; never more than requests wait.
    wanted: AtomicU32,
    /// Wakes who has waited longest.
    freed: Notify,
    /// Of the workers that have connections here, or had some.
    bells: Mutex<Vec<Arc<Notify>>>,
}

impl Places {
    /// Open connections, and those that are being opened.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Requests that have found no place and wait for one.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Takes a place unless `limit` are taken. The caller owes a [`Places::leave`].
    pub fn enter(&self, limit: u32) -> bool {
        let more = |open: u32| (open < limit).then(|| open + 1);
        self.open.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Gives a place back, to whoever has waited longest.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Relaxed);
        if self.waiting() > 0 {
            self.freed.notify_one();
        }
    }

    /// Waits for a place with others.
    pub fn line_up(&self) -> Line<'_> {
        self.waiting.fetch_add(1, Relaxed);
        Line(self)
    }

    /// Whether a connection that carries nothing should be given up.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed) > 0
    }

    /// Takes it on to give up one connection, if one is wanted.
    pub fn grant(&self) -> bool {
        self.wanted.fetch_update(Relaxed, Relaxed, |wanted| wanted.checked_sub(1)).is_ok()
    }

    /// `bell` is rung from now on when a connection is wanted and others have none that they could give up.
    pub fn attend(&self, bell: Arc<Notify>) {
        self.bells().push(bell);
    }

    /// No more.
    pub fn forsake(&self, bell: &Arc<Notify>) {
        let mut bells = self.bells();
        if let Some(index) = bells.iter().position(|known| Arc::ptr_eq(known, bell)) {
            bells.swap_remove(index);
        }
    }

    fn bells(&self) -> MutexGuard<'_, Vec<Arc<Notify>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request among those that wait for a place.
#[derive(Debug)]
pub struct Line<'a>(&'a Places);

impl<'a> Line<'a> {
    /// Takes a place unless `limit` are taken, and lets the next one see whether there is yet another.
    pub fn enter(&self, limit: u32) -> bool {
        let entered = self.0.enter(limit);
        if entered && self.0.waiting() > 1 && self.0.open() < limit {
            self.0.freed.notify_one();
        }
        entered
    }

    /// Asks that a connection be given up, unless as many are wanted as requests wait; whether others must be told of it.
    pub fn ask(&self) -> bool {
        let waiting = self.0.waiting();
        let more = |wanted: u32| (wanted < waiting).then(|| wanted + 1);
        self.0.wanted.fetch_update(Relaxed, Relaxed, more) == Ok(0)
    }

    /// Tells the workers other than the one with this bell.
    pub fn ring(&self, own: &Arc<Notify>) {
        self.0.bells().iter().filter(|bell| !Arc::ptr_eq(bell, own)).for_each(|bell| bell.notify_one());
    }

    /// Until a place may be free.
    pub fn freed(&self) -> Notified<'a> {
        self.0.freed.notified()
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let left = self.0.waiting.fetch_sub(1, Relaxed) - 1;
        self.0.wanted.fetch_min(left, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_wanted_as_wait_and_each_is_given_up_once() {
        let places = Places::default();
        assert!(places.enter(2) && places.enter(2) && !places.enter(2));
        let (one, two) = (places.line_up(), places.line_up());
        assert!(one.ask(), "the first tells the others");
        assert!(!two.ask() && !two.ask(), "they have been told");
        assert!(places.grant() && places.grant() && !places.grant());
        assert!(one.ask() && !two.ask());
        drop(two);
        assert!(places.grant() && !places.grant(), "nobody is left who wants the other");
        drop(one);
        assert!(!places.is_wanted());
        assert_eq!((places.open(), places.waiting()), (2, 0));
    }

    #[test]
    fn a_place_goes_to_who_has_waited_longest_and_the_next_hears_of_more() {
        let places = Places::default();
        assert!(places.enter(2) && places.enter(2));
        let (one, two) = (places.line_up(), places.line_up());
        let mut first = looking_at(one.freed());
        let mut second = looking_at(two.freed());
        assert!(!first() && !second());
        places.leave();
        places.leave();
        assert!(first() && second(), "one for each");
        let (mut first, mut second) = (looking_at(one.freed()), looking_at(two.freed()));
        assert!(!first() && !second());
        assert!(one.enter(2));
        assert!(first(), "there is another place");
    }

    /// Looks whether a future is done.
    fn looking_at<F: Future>(future: F) -> impl FnMut() -> bool {
        let mut future = Box::pin(future);
        move || future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn other_workers_are_told_and_this_one_is_not() {
        let (places, own, other) = (Places::default(), Arc::new(Notify::new()), Arc::new(Notify::new()));
        places.attend(own.clone());
        places.attend(other.clone());
        places.line_up().ring(&own);
        let rung = |bell: &Notify| looking_at(bell.notified())();
        assert_eq!((rung(&own), rung(&other)), (false, true));
        places.forsake(&other);
        places.line_up().ring(&own);
        assert!(!rung(&other));
    }
}
