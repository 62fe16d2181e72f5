//! Choosing among all: by turns, at random, or the better of two.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::peak_ewma::LONG_IN_ITSELF;
use super::screen::Screen;
use super::{EndpointSet, below};

/// How often a draw is repeated that hit an endpoint already tried, before the next one in line is taken.
const DRAWS_MAX: usize = 4;

/// The most that is presumed of an endpoint that was never measured, in nanoseconds.
const PRESUMED_NS: f32 = LONG_IN_ITSELF.as_nanos() as f32;

/// An endpoint drawn twice gives way to another only if it is worse by this factor.
const CLEARLY_WORSE: f32 = 4.0;

impl EndpointSet {
    /// The better of two. `now_ns` is `None` where latency does not count.
    pub(super) fn two_choices(
        &self,
        now_ns: Option<u64>,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> usize {
        let first = self.draw(random, screen);
        let second = match &self.shares {
            None => self.draw_other(first, random, screen),
            Some(shares) => {
                Some(shares.table.draw(random())).filter(|index| screen.takes(&self.entries[*index], random))
            }
        };
        match second {
            None => first,
            Some(second) if second != first => self.cheaper(first, second, now_ns, screen),
            Some(_) => self.unless_clearly_worse(first, now_ns, random, screen),
        }
    }

    /// The better of two different ones.
    pub(super) fn cheaper(
        &self,
        first: usize,
        second: usize,
        now_ns: Option<u64>,
        screen: &Screen<'_>,
    ) -> usize {
        let (cost_first, cost_second) = self.costs(first, second, now_ns);
        let load = |index| self.in_flight(index) * self.inverse_share(index, screen) + 1.0;
        if cost_second * load(second) < cost_first * load(first) { second } else { first }
    }

    /// `first`, which was drawn twice, or another one if that is far faster, or far emptier for its share.
    fn unless_clearly_worse(
        &self,
        first: usize,
        now_ns: Option<u64>,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> usize {
        let Some(other) = self.draw_other(first, random, screen) else { return first };
        let (cost_first, cost_other) = self.costs(first, other, now_ns);
        let next = |index| self.in_flight(index) + 1.0;
        let slower = cost_first > CLEARLY_WORSE * cost_other * next(other);
        let load = |index| next(index) * self.inverse_share(index, screen);
        let fuller = cost_first * load(first) > CLEARLY_WORSE * cost_other * load(other);
        if slower || fuller { other } else { first }
    }

    /// The latency estimates of two endpoints. One that was never measured is presumed to be like the other, and it then competes by what
    /// is in flight alone; but not to be as bad as a slow one, which would go on being tried while nobody knows the other.
    fn costs(&self, left: usize, right: usize, now_ns: Option<u64>) -> (f32, f32) {
        let Some(now_ns) = now_ns else { return (1.0, 1.0) };
        match (self.entries[left].endpoint.cost(now_ns), self.entries[right].endpoint.cost(now_ns)) {
            (Some(left), Some(right)) => (left, right),
            (Some(left), None) => (left, left.min(PRESUMED_NS)),
            (None, Some(right)) => (right.min(PRESUMED_NS), right),
            (None, None) => (1.0, 1.0),
        }
    }

    /// The next turn that is not to be avoided. Turns are for first tries: were a retry to take one, then of two endpoints of which one fails
    /// that one would get every first try. It is drawn instead, so that the neighbour of one that fails does not get all of its load.
    pub(super) fn in_turn(
        &self,
        round: &[u32],
        turn: &AtomicU64,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> usize {
        if screen.repeats() {
            return self.draw(random, screen);
        }
        let mut index = 0;
        for _ in 0..DRAWS_MAX {
            let mut now = turn.fetch_add(1, Relaxed);
            if now == 0 {
                // Two workers may both start it; then one of the starts counts.
                now = u64::from(random() as u32) + 1;
                turn.store(now + 1, Relaxed);
            }
            index = round[(now % round.len() as u64) as usize] as usize;
            if screen.takes(&self.entries[index], random) {
                return index;
            }
        }
        self.next_in_line(index, screen)
    }

    /// Draws one by weight.
    pub(super) fn draw(&self, random: &mut impl FnMut() -> u64, screen: &Screen<'_>) -> usize {
        let mut index = 0;
        for _ in 0..DRAWS_MAX {
            index = match &self.shares {
                Some(shares) => shares.table.draw(random()),
                None => below(self.open().len(), random()),
            };
            if screen.takes(&self.entries[index], random) {
                return index;
            }
        }
        self.next_in_line(index, screen)
    }

    /// Draws one beside `first`, all alike.
    fn draw_other(
        &self,
        first: usize,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> Option<usize> {
        (0..DRAWS_MAX).find_map(|_| {
            let index = below(self.open().len() - 1, random());
            let index = if index >= first { index + 1 } else { index };
            screen.takes(&self.entries[index], random).then_some(index)
        })
    }

    /// From `index` on, the next one that takes all its share, else one that takes requests, else one that was not tried.
    pub(super) fn next_in_line(&self, index: usize, screen: &Screen<'_>) -> usize {
        let line = || (index..self.open().len()).chain(0..index);
        let allowed = |index: &usize| !screen.is_avoided(&self.entries[*index]);
        let takes = |index: &usize| screen.serves(&self.entries[*index]);
        let grown = |index: &usize| takes(index) && screen.ramp(&self.entries[*index]) >= 1.0;
        let found = line().find(grown).or_else(|| line().find(takes)).or_else(|| line().find(allowed));
        found.unwrap_or(index)
    }
}
