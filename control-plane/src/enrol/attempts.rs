//! Failed attempts to get a certificate, by where they come from. Pure: time is passed in.
//!
//! A join token cannot be guessed; what this keeps off is the noise, and the work that each attempt costs. Whoever shows a certificate that is
//! believed is never held off.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Attempts that may fail at once.
pub(super) const FAILED_AT_ONCE: u64 = 10;
/// After so long, one more may, in milliseconds.
pub(super) const FAILED_EVERY_MS: u64 = 6_000;
/// However many have failed, it is over after so long: whoever shares an address with others is not to wait for hours.
const HELD_OFF_MAX_MS: u64 = 2 * FAILED_AT_ONCE * FAILED_EVERY_MS;
/// Addresses that are told apart; all others are taken for one.
pub(super) const SOURCES_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Attempts {
    /// When all failures of a source will be forgiven: the theoretical arrival time of a GCRA, in milliseconds since 1970.
    forgiven_ms: HashMap<IpAddr, u64>,
}

impl Attempts {
    /// For how long, in milliseconds, nothing more from there is tried; `None`: it may try.
    pub fn held_off(&self, from: IpAddr, now_ms: u64) -> Option<u64> {
        let forgiven = self.forgiven_ms.get(&source(from)).or_else(|| self.forgiven_ms.get(&OTHERS))?;
        // The clock may have been set back.
        let wait = forgiven
            .saturating_sub(now_ms)
            .min(HELD_OFF_MAX_MS)
            .saturating_sub((FAILED_AT_ONCE - 1) * FAILED_EVERY_MS);
        (wait > 0).then_some(wait)
    }

    /// An attempt from there has failed.
    pub fn fail(&mut self, from: IpAddr, now_ms: u64) {
        let mut key = source(from);
        if self.forgiven_ms.len() >= SOURCES_MAX && !self.forgiven_ms.contains_key(&key) {
            self.forgiven_ms.retain(|_, forgiven| *forgiven > now_ms);
            if self.forgiven_ms.len() >= SOURCES_MAX {
                key = OTHERS;
            }
        }
        let forgiven = self.forgiven_ms.entry(key).or_default();
        *forgiven = ((*forgiven).max(now_ms) + FAILED_EVERY_MS).min(now_ms + HELD_OFF_MAX_MS);
    }

    /// How many sources are remembered.
    pub fn sources(&self) -> usize {
        self.forgiven_ms.len()
    }
}

/// Those for whom there was no room.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Whoever has one IPv6 address has all of its network of 64 bits.
fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_may_fail_at_once_and_then_one_every_six_seconds() {
        let (mut attempts, one) = (Attempts::default(), address("10.0.0.1"));
        for _ in 0..FAILED_AT_ONCE {
            assert_eq!(attempts.held_off(one, NOW), None);
            attempts.fail(one, NOW);
        }
        assert_eq!(attempts.held_off(one, NOW), Some(FAILED_EVERY_MS));
        assert_eq!(attempts.held_off(one, NOW + FAILED_EVERY_MS - 1), Some(1));
        assert_eq!(attempts.held_off(one, NOW + FAILED_EVERY_MS), None);
        attempts.fail(one, NOW + FAILED_EVERY_MS);
        assert_eq!(attempts.held_off(one, NOW + FAILED_EVERY_MS), Some(FAILED_EVERY_MS));
        assert_eq!(attempts.held_off(address("10.0.0.2"), NOW), None, "others are not held off");
    }

    #[test]
    fn nobody_is_held_off_for_long_whatever_the_others_do_and_whatever_the_clock_does() {
        let (mut attempts, one) = (Attempts::default(), address("10.0.0.1"));
        for _ in 0..1_000 {
            attempts.fail(one, NOW);
        }
        let most = HELD_OFF_MAX_MS - (FAILED_AT_ONCE - 1) * FAILED_EVERY_MS;
        assert_eq!(attempts.held_off(one, NOW), Some(most));
        assert_eq!(attempts.held_off(one, NOW - 86_400_000), Some(most), "the clock was set back by a day");
        assert_eq!(attempts.held_off(one, NOW + most), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_mapped_addresses_are_ipv4() {
        let mut attempts = Attempts::default();
        for nth in 0..FAILED_AT_ONCE {
            attempts.fail(address(&format!("2001:db8::{nth:x}")), NOW);
            attempts.fail(address("::ffff:10.0.0.1"), NOW);
        }
        for held_off in ["2001:db8::ffff", "10.0.0.1"] {
            assert!(attempts.held_off(address(held_off), NOW).is_some(), "{held_off}");
        }
        assert_eq!(attempts.held_off(address("2001:db8:0:1::1"), NOW), None);
    }

    #[test]
    fn the_table_is_bounded_and_those_without_room_share_one() {
        let mut attempts = Attempts::default();
        let nth = |nth: usize| IpAddr::from((nth as u32).to_be_bytes());
        for one in 0..SOURCES_MAX * 2 {
            attempts.fail(nth(one), NOW);
        }
        assert!(attempts.sources() <= SOURCES_MAX + 1, "{}", attempts.sources());
        assert!(attempts.held_off(nth(SOURCES_MAX * 3), NOW).is_some(), "nobody escapes by coming from anew");
        assert_eq!(attempts.held_off(nth(0), NOW), None, "one that has room is judged by itself");
        attempts.fail(nth(7), NOW + 365 * 86_400_000);
        assert_eq!(attempts.sources(), SOURCES_MAX + 1);
        attempts.fail(nth(SOURCES_MAX * 3), NOW + 365 * 86_400_000);
        assert!(attempts.sources() <= 2, "what is forgiven makes room");
    }
}
