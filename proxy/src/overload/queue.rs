//! Requests that wait for a place at the application: few, for a short time.
//!
//! The time is that of CoDel as used in front of servers (Maurer, "Fail at Scale", 2015): as long as the queue was empty a moment ago, what
//! waits is a burst and may wait until it is over; where the queue has stood for longer, waiting only adds latency, so that it is kept
//! short, and who came last goes first: only for them somebody surely still waits.
//!
//! What is more important goes first, so that a class sees no queue but of its own and of those above it: that the least important stand does
//! not shorten the wait of the others.

use std::collections::VecDeque;

use super::Priority;
use super::priority::CLASSES;

/// Requests that wait at most.
pub const WAITING_MAX: usize = 64;
/// Since when the queue must have stood to be a standing one.
const STANDING_NS: u64 = 100_000_000;
/// Wait in a queue that was empty a moment ago.
const BURST_WAIT_NS: u64 = 100_000_000;
/// Wait in one that stands.
const STANDING_WAIT_NS: u64 = 5_000_000;

/// The queue.
#[derive(Debug)]
pub struct Queue<T> {
    /// In the order of coming.
    waiting: VecDeque<(Priority, T)>,
    /// By class: when nobody of it or of a more important one waited, nor had given up lately.
    empty_at_ns: [u64; CLASSES],
    /// By class: when the last of them was not served. While there are such, that a queue is empty for a moment does not mean that there is
    /// room.
    given_up_ns: [u64; CLASSES],
}

/// What became of one that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// It waits, for at most so long.
    Waits {
        /// Nanoseconds.
        wait_ns: u64,
        /// Whose place it took, if the queue was full.
        displaced: Option<T>,
    },
    /// The queue is full of requests that are at least as important.
    Full(T),
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), empty_at_ns: [0; CLASSES], given_up_ns: [0; CLASSES] }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// One more.
    pub fn push(&mut self, priority: Priority, request: T, now_ns: u64) -> Pushed<T> {
        self.note_vacant(now_ns);
        let mut displaced = None;
        if self.waiting.len() >= WAITING_MAX {
            // The least important, of those who came first: where the queue stands, they would be the last to be served.
            let least = self.waiting.iter().map(|(priority, _)| *priority).max();
            match least.filter(|least| *least > priority) {
                Some(least) => displaced = self.take(now_ns, |(priority, _)| *priority == least),
                None => {
                    self.given_up_ns[priority.class()..].fill(now_ns);
                    return Pushed::Full(request);
                }
            }
        }
        self.waiting.push_back((priority, request));
        let wait_ns = if self.stands(priority, now_ns) { STANDING_WAIT_NS } else { BURST_WAIT_NS };
        Pushed::Waits { wait_ns, displaced }
    }

    /// The next for whose class there is a place.
    pub fn pop(&mut self, now_ns: u64, mut admit: impl FnMut(Priority) -> bool) -> Option<T> {
        let best = self.waiting.iter().map(|(priority, _)| *priority).min()?;
        if !admit(best) {
            return None;
        }
        let of_best = |(priority, _): &(Priority, T)| *priority == best;
        let index = match self.stands(best, now_ns) {
            true => self.waiting.iter().rposition(of_best),
            false => self.waiting.iter().position(of_best),
        };
        let popped = self.waiting.remove(index?);
        self.note_vacant(now_ns);
        popped.map(|(_, request)| request)
    }

    /// Forgets one that waits no more.
    pub fn remove(&mut self, now_ns: u64, mut is: impl FnMut(&T) -> bool) {
        self.take(now_ns, |(_, request)| is(request));
    }

    /// Takes out one that was not served.
    fn take(&mut self, now_ns: u64, is: impl FnMut(&(Priority, T)) -> bool) -> Option<T> {
        let index = self.waiting.iter().position(is)?;
        let (priority, request) = self.waiting.remove(index)?;
        self.given_up_ns[priority.class()..].fill(now_ns);
        Some(request)
    }

    /// Notes for which classes nobody waits.
    fn note_vacant(&mut self, now_ns: u64) {
        let best = self.waiting.iter().map(|(priority, _)| priority.class()).min().unwrap_or(CLASSES);
        for (empty_at_ns, given_up_ns) in self.empty_at_ns.iter_mut().zip(self.given_up_ns).take(best) {
            if now_ns.saturating_sub(given_up_ns) > STANDING_NS {
                *empty_at_ns = now_ns;
            }
        }
    }

    fn stands(&self, priority: Priority, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.empty_at_ns[priority.class()]) > STANDING_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000_000;

    fn waits(pushed: Pushed<u32>) -> u64 {
        match pushed {
            Pushed::Waits { wait_ns, displaced: None } => wait_ns,
            other => unreachable!("it waits: {other:?}"),
        }
    }

    #[test]
    fn a_burst_may_wait_and_a_standing_queue_is_kept_short_newest_first() {
        let mut queue = Queue::default();
        assert_eq!(waits(queue.push(Priority::DEFAULT, 1, NOW)), BURST_WAIT_NS);
        assert_eq!(waits(queue.push(Priority::DEFAULT, 2, NOW + STANDING_NS)), BURST_WAIT_NS);
        assert_eq!(queue.pop(NOW + STANDING_NS, |_| true), Some(1), "the first while it is a burst");
        assert_eq!(waits(queue.push(Priority::DEFAULT, 3, NOW + STANDING_NS + 1)), STANDING_WAIT_NS);
        assert_eq!(queue.pop(NOW + STANDING_NS + 1, |_| true), Some(3), "the last where it stands");
        assert_eq!(queue.pop(NOW + STANDING_NS + 2, |_| true), Some(2));
        assert_eq!(waits(queue.push(Priority::DEFAULT, 4, NOW + STANDING_NS + 3)), BURST_WAIT_NS);
    }

    #[test]
    fn that_those_who_waited_gave_up_does_not_end_a_standing_queue() {
        let mut queue = Queue::default();
        waits(queue.push(Priority::DEFAULT, 1, NOW));
        let later = NOW + STANDING_NS + 1;
        queue.remove(later, |_| true);
        assert_eq!(waits(queue.push(Priority::DEFAULT, 2, later + 1)), STANDING_WAIT_NS);
        assert_eq!(queue.pop(later + 2, |_| true), Some(2));
        assert_eq!(
            waits(queue.push(Priority::DEFAULT, 2, later + 3)),
            STANDING_WAIT_NS,
            "only one was served"
        );
        assert_eq!(queue.pop(later + 4, |_| true), Some(2));
        let calm = later + STANDING_NS + 1;
        assert_eq!(
            waits(queue.push(Priority::DEFAULT, 3, calm)),
            BURST_WAIT_NS,
            "nobody gave up for a while"
        );
    }

    #[test]
    fn the_important_see_no_queue_of_others() {
        let mut queue = Queue::default();
        let mut request = 0;
        let mut push = |queue: &mut Queue<u32>, priority, now_ns| {
            request += 1;
            waits(queue.push(priority, request, now_ns))
        };
        push(&mut queue, Priority::DEFAULT, NOW);
        let later = NOW + 2 * STANDING_NS;
        assert_eq!(push(&mut queue, Priority::CRITICAL, later), BURST_WAIT_NS);
        assert_eq!(push(&mut queue, Priority::DEFAULT, later), STANDING_WAIT_NS);
        assert_eq!(push(&mut queue, Priority::LOWEST, later), STANDING_WAIT_NS);
        let much_later = later + 2 * STANDING_NS;
        assert_eq!(
            push(&mut queue, Priority::CRITICAL, much_later),
            STANDING_WAIT_NS,
            "they stand themselves"
        );
    }

    #[test]
    fn the_important_go_first_and_displace_others() {
        let mut queue = Queue::default();
        for index in 0..WAITING_MAX as u32 {
            waits(queue.push(if index == 5 { Priority::LOWEST } else { Priority::DEFAULT }, index, NOW));
        }
        assert_eq!(queue.push(Priority::LOWEST, 100, NOW), Pushed::Full(100));
        let displaced = |displaced| Pushed::Waits { wait_ns: BURST_WAIT_NS, displaced };
        assert_eq!(queue.push(Priority::CRITICAL, 101, NOW), displaced(Some(5)), "the least important");
        assert_eq!(queue.push(Priority::DEFAULT, 102, NOW), Pushed::Full(102));
        assert_eq!(queue.push(Priority::CRITICAL, 103, NOW), displaced(Some(0)), "of those the first");
        assert_eq!(queue.len(), WAITING_MAX);
        assert_eq!(queue.pop(NOW, |_| true), Some(101));
        queue.remove(NOW, |request| *request == 103);
        assert_eq!(queue.pop(NOW, |priority| priority == Priority::CRITICAL), None, "no place for the next");
        assert_eq!(queue.pop(NOW, |_| true), Some(1));
    }
}
