//! One bucket of a global limit, as one proxy sees it: what the store has said, what the store has not been told, and what to do while it
//! is silent. The law and its bound are in `docs/RATE-LIMITS.md`.

use super::gcra::Gcra;
use super::link::{Look, SLOW_NS, SYNC_NS};

/// Parts of a whole share.
const WHOLE_PPM: u32 = 1_000_000;

/// What a global limit allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    /// In each window, of all proxies.
    pub(super) requests: u64,
    /// Length of a window.
    pub(super) period_ns: u64,
    burst: u64,
    /// Requests of one proxy that the store has not confirmed: a burst, or what comes between two rounds at the sustained rate.
    pub(super) unsettled_max: u64,
}

impl Quota {
    pub(super) fn new(requests: u32, period_ms: u64, burst: u32) -> Self {
        let (requests, burst) = (u64::from(requests.max(1)), u64::from(burst.max(1)));
        let period_ns = period_ms.saturating_mul(1_000_000).max(1);
        let between = (u128::from(requests) * u128::from(SYNC_NS)).div_ceil(u128::from(period_ns));
        let unsettled_max = burst.max(u64::try_from(between).unwrap_or(u64::MAX));
        Self { requests, period_ns, burst, unsettled_max }
    }

    /// The law for a proxy that has to do with a part.
    fn part(&self, part: Part) -> Gcra {
        let rate = u128::from(self.requests) * u128::from(part.rate_ppm.max(1));
        let interval = (u128::from(self.period_ns) * u128::from(WHOLE_PPM)).div_ceil(rate);
        let burst = self.burst.saturating_mul(part.burst_ppm.into()) / u64::from(WHOLE_PPM);
        Gcra::every(u64::try_from(interval).unwrap_or(u64::MAX), burst)
    }
}

/// What of the limit a proxy is held to that decides without the store, in parts of a million.
#[derive(Debug, Clone, Copy)]
struct Part {
    rate_ppm: u32,
    burst_ppm: u32,
}

/// See the module. Windows are numbered from 1970 on the store's clock.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// Names the bucket in the store.
    pub(super) digest: u128,
    /// Whether it stands in the queue of those that have something to tell.
    pub(super) queued: bool,
    /// The window of the last request.
    window: u64,
    /// That window and the one before.
    current: Known,
    previous: Known,
    /// Own admitted ones that are on their way to the store, and for which window.
    told: Told,
    /// When the oldest that the store has not confirmed was admitted, or later.
    since_ns: u64,
    /// Own part of all, in parts of a million; 0: not known.
    share_ppm: u32,
    /// The bucket for a silent store.
    full_ns: u64,
}

/// What is known of one window.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Requests of all proxies, but for what the store has not confirmed.
    total: u64,
    /// Of these, what the store must have had and has no more: it was flushed, or an answer was lost and the count with it.
    missing: u64,
    /// Requests of this proxy.
    own: u64,
    /// Of these, what the store is still to be told.
    pending: u64,
}

/// Counts for the store: of a window, and late ones of the window before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) window: u64,
    pub(super) count: u64,
    pub(super) late: u64,
}

/// What became of counts on their way to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// They arrived.
    Totals {
        /// Requests of all proxies in the window.
        current: u64,
        /// And in the window before.
        previous: u64,
    },
    /// Nobody knows. They are not sent again: no request is ever counted twice.
    Unknown,
    /// They were not counted, and go with the next round.
    Refused,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    /// Whether it is admitted; if not, for how long it is no use to ask again, in nanoseconds.
    pub(super) outcome: Result<(), u64>,
    /// The share that this proxy was held to, if it decided without the store.
    pub(super) share_ppm: Option<u32>,
}

impl Known {
    /// The store has been told `told` more, and says that it has `total`.
    fn learn(&mut self, told: u64, total: u64) {
        let least = self.total.saturating_add(told);
        self.missing = self.missing.saturating_add(least.saturating_sub(total.saturating_add(self.missing)));
        self.total = total.saturating_add(self.missing);
    }

    fn share_ppm(&self) -> Option<u32> {
        let own = self.own.saturating_sub(self.pending).min(self.total);
        let share = u128::from(own) * u128::from(WHOLE_PPM) / u128::from(self.total.max(1));
        (own > 0).then(|| (share as u32).max(1))
    }
}

impl Cell {
    pub(super) fn new(digest: u128, window: u64) -> Self {
        Self { digest, window, ..Self::default() }
    }

    /// Decides on a request. `peer_ppm` is the share of one of all proxies, were they alike.
    pub(super) fn decide(&mut self, quota: &Quota, look: Look, peer_ppm: u32, now_ns: u64) -> Decision {
        self.roll(quota, look.store_ns, now_ns);
        let behind = self.unsettled() > 0 && now_ns.saturating_sub(self.since_ns) > SLOW_NS;
        let part = (behind || !look.joined).then(|| self.part(look.joined, peer_ppm));
        let outcome = match part {
            None => self.decide_joined(quota, look.store_ns),
            Some(part) => self.decide_alone(quota, part, look.store_ns, now_ns),
        };
        let share_ppm = part.map(|part| part.rate_ppm);
        if outcome.is_ok() {
            if self.unsettled() == 0 {
                self.since_ns = now_ns;
            }
            self.current.own += 1;
            self.current.pending += 1;
        }
        Decision { outcome, share_ppm }
    }

    /// What the store is to be told now, if anything.
    pub(super) fn take(&mut self) -> Option<Told> {
        self.queued = false;
        let told = Told { window: self.window, count: self.current.pending, late: self.previous.pending };
        if told.count + told.late == 0 {
            return None;
        }
        (self.current.pending, self.previous.pending) = (0, 0);
        self.told = told;
        Some(told)
    }

    /// What became of it. Whether there is something that has to be told again.
    pub(super) fn settle(&mut self, answer: Answer, now_ns: u64) -> bool {
        let told = std::mem::take(&mut self.told);
        // Of the two windows that are kept now, those that it was about.
        let (current, previous) = match self.window.checked_sub(told.window) {
            Some(0) => (Some(told.count), Some(told.late)),
            Some(1) => (None, Some(told.count)),
            _ => (None, None),
        };
        match answer {
            Answer::Totals { current: total, previous: before } => {
                let last = if current.is_some() { before } else { total };
                current.into_iter().for_each(|count| self.current.learn(count, total));
                previous.into_iter().for_each(|count| self.previous.learn(count, last));
                // A whole window says more than a part of one.
                let share_ppm = self.previous.share_ppm().or_else(|| self.current.share_ppm());
                self.share_ppm = share_ppm.unwrap_or(self.share_ppm);
                self.since_ns = now_ns;
            }
            Answer::Unknown => {
                self.current.total = self.current.total.saturating_add(current.unwrap_or_default());
                self.previous.total = self.previous.total.saturating_add(previous.unwrap_or_default());
                self.since_ns = now_ns;
            }
            Answer::Refused => {
                self.current.pending += current.unwrap_or_default();
                self.previous.pending += previous.unwrap_or_default();
            }
        }
        self.current.pending + self.previous.pending > 0
    }

    /// Whether a new one would do the same.
    pub(super) fn is_forgettable(&self, window: u64, now_ns: u64) -> bool {
        !self.queued && self.unsettled() == 0 && self.window.abs_diff(window) > 1 && self.full_ns <= now_ns
    }

    /// Own admitted ones that the store has not confirmed.
    fn unsettled(&self) -> u64 {
        self.current.pending + self.previous.pending + self.told.count + self.told.late
    }

    /// All of the current window and of the one before.
    fn totals(&self) -> (u64, u64) {
        let told = |window: u64| match self.told.window.checked_sub(window) {
            Some(0) => self.told.count,
            Some(1) => self.told.late,
            _ => 0,
        };
        let all = |known: &Known, window| known.total.saturating_add(known.pending + told(window));
        // Nothing is told of a window before the first.
        (all(&self.current, self.window), all(&self.previous, self.window.wrapping_sub(1)))
    }

    /// Moves to the window of `store_ns`.
    fn roll(&mut self, quota: &Quota, store_ns: u64, now_ns: u64) {
        let window = store_ns / quota.period_ns;
        let ahead = window.wrapping_sub(self.window).cast_signed();
        match ahead {
            // A clock that goes back over the border waits there.
            0 | -1 => {}
            1 => (self.previous, self.current) = (std::mem::take(&mut self.current), Known::default()),
            _ => {
                // Where the clock has jumped rather than time gone by, what was just admitted counts in the window it jumped to.
                let recent = now_ns.saturating_sub(self.since_ns) < quota.period_ns;
                let pending = if recent { self.current.pending + self.previous.pending } else { 0 };
                self.previous = Known::default();
                self.current = Known { own: pending, pending, ..Known::default() };
            }
        }
        if ahead != -1 {
            self.window = window;
        }
    }

    fn decide_joined(&self, quota: &Quota, store_ns: u64) -> Result<(), u64> {
        if self.unsettled() >= quota.unsettled_max {
            return Err(SYNC_NS);
        }
        let (current, previous) = self.totals();
        let left_ns = self.left_ns(quota, store_ns);
        let (whole, left) = (u128::from(quota.period_ns), u128::from(left_ns));
        // A part of a request is none.
        let before = u128::from(previous) * left / whole;
        if before + u128::from(current) < u128::from(quota.requests) {
            return Ok(());
        }
        // What must be left of the window for `counted` of the window before it to leave room for one more beside `others`.
        let rest = |counted: u64, others: u64| {
            let room = u128::from(quota.requests.checked_sub(others)?);
            (room > 0)
                .then(|| (room * whole - 1).checked_div(u128::from(counted)).unwrap_or(whole).min(whole))
        };
        let wait = match rest(previous, current) {
            Some(rest) => left.saturating_sub(rest),
            None => left + whole - rest(current, 0).unwrap_or_default(),
        };
        Err(u64::try_from(wait).unwrap_or(u64::MAX).max(1))
    }

    /// Its own share, if that is known. If not, the whole: that the store is away must cost nobody a request, and at worst each proxy
    /// admits as much as all were to. Where the store is there and this one bucket is not counted, a share like any other's, of which
    /// all may come at once.
    fn part(&self, joined: bool, peer_ppm: u32) -> Part {
        match (self.share_ppm, joined) {
            (0, false) => Part { rate_ppm: WHOLE_PPM, burst_ppm: WHOLE_PPM },
            (0, true) => Part { rate_ppm: peer_ppm, burst_ppm: WHOLE_PPM },
            (known, _) => Part { rate_ppm: known, burst_ppm: known },
        }
    }

    fn decide_alone(&mut self, quota: &Quota, part: Part, store_ns: u64, now_ns: u64) -> Result<(), u64> {
        if self.current.own >= quota.requests {
            return Err(self.left_ns(quota, store_ns).max(1));
        }
        self.full_ns = quota.part(part).decide(self.full_ns, now_ns)?;
        Ok(())
    }

    /// What is left of the current window.
    fn left_ns(&self, quota: &Quota, store_ns: u64) -> u64 {
        let start_ns = self.window.saturating_mul(quota.period_ns);
        quota.period_ns - store_ns.saturating_sub(start_ns).min(quota.period_ns)
    }
}

#[cfg(test)]
mod tests;
