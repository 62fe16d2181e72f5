//! What people are told of peers that were turned away: who they are, or say that they are, and why. No more often than can be read: of the
//! same reason and peer once a minute, and ten lines a second in all. What was left out is counted in the next line.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::clock;
use crate::telemetry::metrics::Direction;
use crate::trust::host;

/// For how long the same is not told again.
const SAME_NS: u64 = 60_000_000_000;
/// Lines within [`WINDOW_NS`].
const LINES_MAX: u32 = 10;
const WINDOW_NS: u64 = 1_000_000_000;
/// Reasons and peers that are remembered. In the time that counts there are fewer lines than this.
const KNOWN_MAX: usize = 1024;

/// The log is one for the whole process.
static BOOK: LazyLock<Mutex<Book>> = LazyLock::new(Mutex::default);

/// A peer that was turned away, or that this side turned away from.
#[derive(Debug, Clone, Copy)]
pub struct Complaint<'a> {
    /// Inbound if it has come here.
    pub direction: Direction,
    /// A word, as in metrics.
    pub reason: &'static str,
    /// Where it is.
    pub address: Option<IpAddr>,
    /// Who it is.
    pub identity: Option<&'a str>,
    /// Whether it has proved that. If not, its certificate says so, and counts for nothing.
    pub is_proved: bool,
    /// The number of that certificate.
    pub serial: Option<&'a str>,
}

impl Complaint<'_> {
    /// Tells it, if that is due.
    pub fn tell(&self, why: &dyn Display) {
        let omitted = BOOK.lock().unwrap_or_else(PoisonError::into_inner).enter(self, clock::now_ns());
        let Some(Omitted { same, others }) = omitted else { return };
        let Self { direction, reason, address, identity, is_proved, serial } = *self;
        tracing::warn!(
            %direction,
            reason,
            peer = address.map(tracing::field::display),
            identity,
            proved = identity.map(|_| is_proved),
            serial,
            same_omitted = same,
            others_omitted = others,
            "a peer is refused: {why}"
        );
    }
}

/// Who a peer is to the book. What it has not proved it could say anew each time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Identity(Box<str>),
    Address(Option<IpAddr>),
}

impl Who {
    fn of(complaint: &Complaint<'_>) -> Self {
        match complaint.identity.filter(|_| complaint.is_proved) {
            Some(identity) => Self::Identity(identity.into()),
            None => Self::Address(complaint.address.map(host)),
        }
    }
}

/// Complaints that were not told.
#[derive(Debug, PartialEq, Eq)]
struct Omitted {
    /// Of the same reason and peer.
    same: u64,
    /// Of all others.
    others: u64,
}

#[derive(Debug)]
struct Told {
    at_ns: u64,
    omitted: u64,
}

/// What was told.
#[derive(Debug, Default)]
struct Book {
    told: HashMap<(&'static str, Who), Told>,
    /// Not told, and not of anyone who is known.
    others: u64,
    window_ns: u64,
    lines: u32,
}

impl Book {
    /// What was left out since; `None`: this is left out, too.
    fn enter(&mut self, complaint: &Complaint<'_>, now_ns: u64) -> Option<Omitted> {
        let key = (complaint.reason, Who::of(complaint));
        if let Some(told) = self.told.get_mut(&key)
            && now_ns < told.at_ns + SAME_NS
        {
            told.omitted += 1;
            return None;
        }
        if now_ns >= self.window_ns + WINDOW_NS {
            (self.window_ns, self.lines) = (now_ns, 0);
        }
        if self.lines == LINES_MAX {
            self.others += 1;
            return None;
        }
        self.lines += 1;
        let same = self.told.remove(&key).map_or(0, |told| told.omitted);
        if self.told.len() >= KNOWN_MAX {
            self.forget(now_ns);
        }
        self.told.insert(key, Told { at_ns: now_ns, omitted: 0 });
        Some(Omitted { same, others: std::mem::take(&mut self.others) })
    }

    fn forget(&mut self, now_ns: u64) {
        let others = &mut self.others;
        self.told.retain(|_, told| {
            let counts = now_ns < told.at_ns + SAME_NS;
            if !counts {
                *others += told.omitted;
            }
            counts
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reason: &'static str, address: u32, identity: Option<&'static str>) -> Complaint<'static> {
        let address = Some(IpAddr::V4(address.into()));
        let direction = Direction::Inbound;
        Complaint { direction, reason, address, identity, is_proved: true, serial: None }
    }

    fn told(same: u64, others: u64) -> Option<Omitted> {
        Some(Omitted { same, others })
    }

    #[test]
    fn the_same_is_told_once_a_minute_and_then_how_often_it_was_not() {
        let mut book = Book::default();
        let shop = of("access_denied", 1, Some("spiffe://mesh.test/ns/default/svc/shop"));
        assert_eq!(book.enter(&shop, 0), told(0, 0));
        for second in 1..60 {
            let elsewhere = of("access_denied", second, shop.identity);
            assert_eq!(book.enter(&elsewhere, u64::from(second) * WINDOW_NS), None);
        }
        assert_eq!(book.enter(&of("expired", 1, shop.identity), SAME_NS - 1), told(0, 0), "another reason");
        assert_eq!(book.enter(&shop, SAME_NS), told(59, 0));
    }

    #[test]
    fn what_is_not_proved_does_not_make_a_peer_another() {
        let mut book = Book::default();
        let claims = |identity, address| Complaint {
            is_proved: false,
            ..of("unknown_issuer", address, Some(identity))
        };
        assert!(book.enter(&claims("spiffe://a/1", 1), 0).is_some());
        assert!(book.enter(&claims("spiffe://a/2", 1), 0).is_none());
        assert!(book.enter(&claims("spiffe://a/1", 2), 0).is_some());
        let of_network =
            |text: &str| Complaint { address: Some(text.parse().unwrap()), ..of("missing", 0, None) };
        assert!(book.enter(&of_network("2001:db8::1"), 0).is_some());
        assert!(book.enter(&of_network("2001:db8::2"), 0).is_none());
    }

    #[test]
    fn lines_and_what_is_remembered_are_bounded_however_many_come() {
        let mut book = Book::default();
        let (mut lines, mut omitted, mut all) = (0, 0, 0);
        for second in 0..300 {
            for peer in 0..100 {
                all += 1;
                if let Some(left_out) =
                    book.enter(&of("missing", second * 100 + peer, None), u64::from(second) * WINDOW_NS)
                {
                    lines += 1;
                    omitted += left_out.same + left_out.others;
                }
            }
            assert!(book.told.len() <= KNOWN_MAX);
        }
        assert_eq!((lines, lines + omitted + book.others), (300 * u64::from(LINES_MAX), all));
    }
}
